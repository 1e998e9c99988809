"""Pretraining with megatron-core: the same code on a DGX and on a laptop."""
