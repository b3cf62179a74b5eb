"""Rows as HTML: the first as they are in the file, and one token by token."""

from typing import Any

from markupsafe import Markup

from core.data.columns.field_values import CONTENT_KEYS, as_json, as_text, as_turns, speaker_key
from core.data.columns.shape import Shape
from core.data.prepared.row_view import RowView, Token
from core.problems import mark, tr, trn
from core.workbench.rows_of_the_form import Look
from ui.shared.formatting import cut
from ui.shared.html import render_part

TEMPLATE = "data/rows.html"
CELL_CHARACTERS = 160
MOST_TURNS = 4  # of a chat in the table
MOST_COLUMNS = 30
LOADING = mark("The model's tokenizer is being loaded. Then each row is shown here, token by token.")
END_IS_CUT = mark(
    "The end token {end} is missing (it is beyond the cut): training on this row teaches the model not to stop."
)
END_IS_MISSING = mark(
    "The end token {end} is missing (it does not end the answer): training on this row teaches the model not to stop."
)
SHAPES = {
    "alpaca": mark("Alpaca rows"),
    "question": mark("question and answer"),
    "messages": mark("chat messages"),
    "sharegpt": mark("ShareGPT conversations"),
    "text": mark("plain text for continued pretraining"),
    "columns": mark("your own text"),
}


def look_text(look: Look) -> Markup:
    """What was assumed, what the rows look like, and the first of them."""
    is_sure = look.shape is not None and look.shape.is_sure
    return render_part(
        TEMPLATE,
        "look",
        lines=look.notes,
        shape=shape_words(look.shape) if look.shape else "",
        is_sure=is_sure,
        trouble=look.trouble if is_sure or not look.shape else "",  # an unsure guess is asked about first
        table=table_text(look.columns, look.rows, _trained(look.shape)),
    )


def _trained(shape: Shape | None) -> str:
    """The column that the model learns to write; empty if that is not a single one."""
    roles = ("answer", "messages", "text")
    column = next((shape.columns[role] for role in roles if role in shape.columns), "") if shape else ""
    return column.partition(".")[0]


def blanks_text(words: dict[str, str]) -> Markup:
    """A field for each placeholder, by its name, with the word that is filled in for it; nothing without any."""
    blanks = [{"name": name, "shown": f"{{{{{name}}}}}", "word": word} for name, word in words.items()]
    return render_part(TEMPLATE, "blanks", blanks=blanks) if blanks else Markup()


def shape_words(shape: Shape) -> str:
    """Looks like question and answer: "Q" asks, "A" answers."""
    kind = tr(SHAPES[shape.name])
    if shape.is_sure:
        return tr("Looks like {kind}: {reason}.", kind=kind, reason=shape.reason)
    return tr("Perhaps {kind}: {reason}. Choose the columns below, or use the guess.", kind=kind, reason=shape.reason)


def table_text(columns: tuple[str, ...], rows: tuple[dict[str, Any], ...], trained: str = "") -> Markup:
    """Rows as a table, with at most `MOST_COLUMNS` columns; empty without rows. The `trained` column is the widest."""
    if not rows:
        return Markup()
    shown, more = columns[:MOST_COLUMNS], len(columns) - MOST_COLUMNS
    return render_part(
        TEMPLATE,
        "table",
        columns=shown,
        trained=trained,
        more=trn("and {count:,} more column", "and {count:,} more columns", more) if more > 0 else "",
        rows=[[_cell(row.get(column)) for column in shown] for row in rows],
    )


def _cell(value: Any) -> str | dict | None:
    """The text of a cell, shortened, or the turns of a chat; None for an empty field."""
    if value is None:
        return None
    turns = as_turns(value)
    if turns is None or not all(isinstance(turn, dict) for turn in turns):
        return cut(as_json(value) if isinstance(value, list | dict) else str(value), CELL_CHARACTERS)
    more = len(turns) - MOST_TURNS
    words = trn("and {count:,} more turn", "and {count:,} more turns", more) if more > 0 else ""
    return {"turns": [_turn(turn) for turn in turns[:MOST_TURNS]], "more": words}


def _turn(turn: dict[str, Any]) -> tuple[str, str]:
    """Who speaks, as the row calls them, and the text, shortened."""
    key = speaker_key(turn)
    said = next((turn[name] for name in CONTENT_KEYS if turn.get(name) is not None), None)
    if isinstance(said, list):  # texts and other parts
        said = "".join(as_text(part.get("text", part)) if isinstance(part, dict) else as_text(part) for part in said)
    if said is None:
        said = next((turn[name] for name in ("tool_calls", "function_call") if turn.get(name)), None)
    return as_text(turn[key]) if key else "", cut(as_text(said), CELL_CHARACTERS)


def row_heading() -> Markup:
    """Above one row."""
    return render_part(TEMPLATE, "row_heading")


def row_text(row: RowView, max_seq_length: int) -> Markup:
    """One row, every token of it; those beyond the length follow a mark."""
    is_cut = row.length > row.kept
    lost = trn(
        "cut here, at the length of {length:,}: {count:,} token lost",
        "cut here, at the length of {length:,}: {count:,} tokens lost",
        row.length - row.kept,
        length=max_seq_length,
    )
    more = row.length - len(row.tokens)
    return render_part(
        TEMPLATE,
        "row",
        number=row.row,
        caption=_caption(row),
        kept=[_token(token) for token in row.tokens if not token.is_cut],
        cut=lost if is_cut else "",
        beyond=[_token(token) for token in row.tokens if token.is_cut],
        more=trn("and {count:,} token more", "and {count:,} tokens more", more) if more > 0 else "",
        message=_about_end(row, is_cut),
        kind="good" if row.end_is_trained else "warning",
    )


def _about_end(row: RowView, is_cut: bool) -> str:
    if row.end_is_trained:
        return tr("The end token {end} is trained on: the model learns to stop.", end=row.end_name)
    if not row.end_name:
        return tr(
            "An end token is missing (the tokenizer has none): training on this row teaches the model not to stop."
        )
    return tr(END_IS_CUT if is_cut else END_IS_MISSING, end=row.end_name)


def _caption(row: RowView) -> str:
    about = {"row": row.row, "trained": row.trained}
    if row.is_validation:
        return trn(
            "Row {row:,} · {count:,} token, {trained:,} of them trained on · validation row",
            "Row {row:,} · {count:,} tokens, {trained:,} of them trained on · validation row",
            row.length,
            **about,
        )
    return trn(
        "Row {row:,} · {count:,} token, {trained:,} of them trained on · training row",
        "Row {row:,} · {count:,} tokens, {trained:,} of them trained on · training row",
        row.length,
        **about,
    )


def _token(token: Token) -> tuple[str, int, str]:
    """CSS classes, number and text of a token."""
    marks = (("t", token.is_trained), ("s", token.is_special), ("x", token.is_cut), ("p", not token.text))
    # A line break is shown as such, and still breaks the line.
    return " ".join(name for name, applies in marks if applies), token.id, token.text.replace("\n", "⏎\n")


# Sends what is in the fields, on a press of the button or of Enter.
SEND_BLANKS = """
const send = () => trigger('asked', {
    words: JSON.stringify([...element.querySelectorAll('input')].map(box => [box.name, box.value])),
});
element.addEventListener('click', event => {
    if (event.target.closest('button')) send();
});
element.addEventListener('keydown', event => {
    if (event.key === 'Enter' && event.target.matches('input')) send();
});
"""


def legend_text() -> Markup:
    """What the looks of tokens mean."""
    return render_part(TEMPLATE, "legend")
