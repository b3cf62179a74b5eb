"""Measures base and tuned on rows: losses, exact match and other measures, and how sure each difference is.

    rows       = [row_of(example, tokenizer), ...]           questions and reference answers
    evaluation = evaluate(loaded, adapters, rows, ...)       each measure of both models, with its interval

`core.workbench.measure_run` finds a run's rows, measures them and saves the result in the run's folder.
"""
