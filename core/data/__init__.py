"""Datasets: from the files that people have to the tokens that a model is trained on.

`files` and `hub` read rows, `columns` finds out what their columns mean, and `prompts` writes conversations as the
model sees them. `prepared` puts it all together: `prepare(config, tokenizer, ...)` turns a DataConfig into examples on
disk, `survey` sums them up, and `row_view` shows one of them token by token.
"""
