"""What a configuration costs: FLOPs, memory, and the peaks of devices."""
