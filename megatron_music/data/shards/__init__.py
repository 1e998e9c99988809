"""Shards: workers encode pieces into them; scan and write make the data set of them."""
