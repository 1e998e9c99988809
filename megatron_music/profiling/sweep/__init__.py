"""Sweeps: every configuration of a grid trained for a few iterations and measured."""
