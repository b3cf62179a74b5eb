"""Rows turned into training examples: rendered, tokenised, split and stored on disk."""
