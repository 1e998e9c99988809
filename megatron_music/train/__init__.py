"""Pretraining on megatron-core, on GPUs with NCCL and on CPUs with gloo, by the same code.

`job.prepare` checks a request without loading torch; `loop.train` carries it out.
"""
