"""Base and tuned measured on rows: losses, right answers, how sure the difference is. Knows nothing of gradio.

    rows       = [row_of(example, tokenizer), ...]           what is asked, and what was wanted
    evaluation = evaluate(loaded, adapters, rows, ...)       both models on them, each measure with its interval

`of_a_run` finds a run's rows, has them measured and keeps what came of it in the run's folder.
"""

from core.evaluation.measuring import evaluate
from core.evaluation.metrics import BY_KEY, METRICS, Metric
from core.evaluation.record import Evaluation, Forgetting, Measure, ReadRow, Source
from core.evaluation.rows import Row, row_of, row_of_prompt

__all__ = [
    "BY_KEY", "METRICS", "Evaluation", "Forgetting", "Measure", "Metric", "ReadRow", "Row", "Source",
    "evaluate", "row_of", "row_of_prompt",
]  # fmt: skip
