"""The demo model and its data: everything in presets/demo-llama and presets/data, made from nothing.

Run `python -m core.demo` to make them again. Knows torch, transformers and tokenizers;
nothing of unsloth, the page, or training with adapters.
"""
