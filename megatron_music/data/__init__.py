"""Collections of music as data sets in Megatron's binary format."""
