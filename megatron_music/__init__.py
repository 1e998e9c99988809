"""MIDI in, Megatron-trained composer out."""

__version__ = "0.1.0"
