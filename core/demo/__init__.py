"""Makes the demo model and its data from scratch: everything in presets/demo-llama and presets/data.

Run `python -m core.demo` to make them again.
"""
