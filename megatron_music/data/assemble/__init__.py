"""Shards to the files of a data set."""
