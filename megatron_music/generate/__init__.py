"""Composing with an exported model."""
