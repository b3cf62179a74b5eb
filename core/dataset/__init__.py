"""From whatever people bring to the tokens that are trained on. Knows nothing of models, threads or gradio.

`prepared` holds the way as a whole, `survey` its figures, `view` one row of it token by token.
"""

from core.dataset.choice import template_columns
from core.dataset.left_out import LeftOut, LeftOutRow
from core.dataset.prepared import PreparedData, open_rows, prepare
from core.dataset.rows import DataError, Row
from core.dataset.shapes import Shape, recognise
from core.dataset.store import Examples
from core.dataset.survey import Survey, survey
from core.dataset.tokens import UNTRAINED, Example
from core.dataset.view import RowView, Token, end_mark, view

__all__ = [
    "UNTRAINED", "DataError", "Example", "Examples", "LeftOut", "LeftOutRow", "PreparedData", "Row", "RowView",
    "Shape", "Survey", "Token", "end_mark", "open_rows", "prepare", "recognise", "survey",
    "template_columns", "view",
]  # fmt: skip
