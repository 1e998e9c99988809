"""The same recipes by Hugging Face's own Trainer: another way to train, and the engine's peer."""
