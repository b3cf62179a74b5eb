"""Whether a run will fit: its memory, part by part, from its settings and the model's config.json alone."""
