"""Whether a run will fit: the memory it takes, part by part, from its settings and the model's config.json alone."""
