"""Measure runs: sweeps, captures, hardware; check a machine."""
