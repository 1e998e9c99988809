"""Words: collections of lyrics as data sets, and models that write them."""
