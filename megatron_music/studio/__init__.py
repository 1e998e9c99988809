"""The studio: a page on which people compose, listen, vote and come back."""
