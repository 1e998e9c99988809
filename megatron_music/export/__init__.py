"""Checkpoints as Hugging Face models."""
