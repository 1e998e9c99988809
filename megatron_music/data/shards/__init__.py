"""Shards: pieces to tokens by workers, then all of them to the files of a data set."""
