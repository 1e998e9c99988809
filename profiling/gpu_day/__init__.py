"""Prove and measure on a GPU what has never run there: `make gpu-day`."""
