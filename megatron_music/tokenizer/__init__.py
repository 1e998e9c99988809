"""mmmtrack: music on the grid as tokens, and back."""
