"""Rows from Hugging Face datasets, through the `datasets` library."""
