"""Captures of Nsight Systems and torch's profiler; `read.read_profile` reads one."""
