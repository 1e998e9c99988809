"""Pieces to tokens: by workers, into shards."""
