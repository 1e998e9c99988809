"""A training step of every distinct rank of a layout, without a GPU."""
