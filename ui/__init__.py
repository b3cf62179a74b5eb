"""The page: layout and short handlers over `core`. Knows nothing of torch or unsloth."""
