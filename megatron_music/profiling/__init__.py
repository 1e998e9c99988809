"""Reading what a run cost."""
