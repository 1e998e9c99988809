"""Processes that work: of this machine or of a Ray cluster."""
