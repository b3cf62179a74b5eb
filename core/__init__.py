"""What HearthTune does, without the page: settings, data, model, training, runs and comparison."""
