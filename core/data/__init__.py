"""From whatever people bring to the tokens that are trained on. Knows nothing of models, threads or gradio.

`prepared` holds the way as a whole, `survey` its figures, `view` one row of it token by token.
"""
