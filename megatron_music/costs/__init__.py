"""Costs of a configuration: FLOPs, memory, time, and the figures of devices."""
