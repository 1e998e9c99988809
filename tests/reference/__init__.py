"""Megatron's own figures, from the wheel that carries `megatron.training`; see `cases.py`."""
