"""Train the same recipes with Hugging Face's Trainer, for users of it and as a comparison."""
