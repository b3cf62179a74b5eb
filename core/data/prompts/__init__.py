"""Conversations as text: chat templates, plain prompts such as Alpaca, and which parts are trained on."""
