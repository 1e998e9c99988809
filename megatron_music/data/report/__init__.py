"""Statistics of a finished data set, and its verification."""
