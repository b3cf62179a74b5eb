"""HearthTune as a desktop app: its icons, its own window, its entry in the start menu, and a second start of it."""
