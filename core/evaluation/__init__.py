"""Base and tuned measured on rows: losses, right answers, how sure the difference is. Knows nothing of gradio.

    rows       = [row_of(example, tokenizer), ...]           what is asked, and what was wanted
    evaluation = evaluate(loaded, adapters, rows, ...)       both models on them, each measure with its interval

`of_a_run` finds a run's rows, has them measured and keeps what came of it in the run's folder.
"""
