"""Pretraining on megatron-core, on GPUs with NCCL and on CPUs with gloo, by the same code.

`request.prepare` checks a request without loading torch; `pretrain.pretrain` runs it.
"""
