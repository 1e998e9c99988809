"""Evaluate a model on music that it has never seen; figures have confidence intervals."""
