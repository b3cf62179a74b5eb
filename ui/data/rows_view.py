"""Rows as HTML: the first as they are in the file, one token by token, and the figures of a whole set."""

from typing import Any

from markupsafe import Markup

from core.data.columns.field_values import CONTENT_KEYS, as_json, as_text, as_turns, speaker_key
from core.data.columns.shape import Shape
from core.data.prepared.left_out import LeftOut
from core.data.prepared.row_view import RowView, Token
from core.data.prepared.survey import Survey
from core.workbench.rows_of_the_form import Look, Preparing
from ui.data.length_chart import length_chart
from ui.shared.formatting import count, cut, notice, percent
from ui.shared.html import render_part

TEMPLATE = "data/rows.html"
CELL_CHARACTERS = 160
MOST_TURNS = 4  # of a chat in the table
MOST_COLUMNS = 30
MOST_LEFT_OUT = 20  # rows listed; the file to download has them all
MOST_FILES_NAMED = 3
PACKING = {
    "on": "on: several rows fill a sequence",
    "off": "off: each row is a sequence, padded to the longest of its batch",
    "unavailable": "off, although you turned it on: without a GPU nothing keeps packed rows apart",
}
SHAPES = {
    "alpaca": "Alpaca rows",
    "question": "question and answer",
    "messages": "chat messages",
    "sharegpt": "ShareGPT conversations",
    "text": "plain text for continued pretraining",
    "columns": "your own text",
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
    if shape.is_sure:
        return f"Looks like {SHAPES[shape.name]}: {shape.reason}."
    return f"Perhaps {SHAPES[shape.name]}: {shape.reason}. Choose the columns below, or use the guess."


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
        more=count(more, "more column") if more > 0 else "",
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
    return {"turns": [_turn(turn) for turn in turns[:MOST_TURNS]], "more": count(more, "more turn") if more > 0 else ""}


def _turn(turn: dict[str, Any]) -> tuple[str, str]:
    """Who speaks, as the row calls them, and the text, shortened."""
    key = speaker_key(turn)
    said = next((turn[name] for name in CONTENT_KEYS if turn.get(name) is not None), None)
    if isinstance(said, list):  # texts and other parts
        said = "".join(as_text(part.get("text", part)) if isinstance(part, dict) else as_text(part) for part in said)
    if said is None:
        said = next((turn[name] for name in ("tool_calls", "function_call") if turn.get(name)), None)
    return as_text(turn[key]) if key else "", cut(as_text(said), CELL_CHARACTERS)


def row_text(row: RowView, max_seq_length: int) -> Markup:
    """One row, every token of it; those beyond the length follow a mark."""
    is_cut = row.length > row.kept
    lost = count(row.length - row.kept, "token")
    side = "validation row" if row.is_validation else "training row"
    if row.end_is_trained:
        end = f"The end token {row.end_name} is trained on: the model learns to stop."
    else:
        why = "it is beyond the cut" if is_cut else "it does not end the answer"
        if not row.end_name:
            why = "the tokenizer has none"
        mark = f"The end token {row.end_name}" if row.end_name else "An end token"
        end = f"{mark} is missing ({why}): training on this row teaches the model not to stop."
    return render_part(
        TEMPLATE,
        "row",
        number=row.row,
        caption=f"Row {row.row:,} · {count(row.length, 'token')}, {row.trained:,} of them trained on · {side}",
        kept=[_token(token) for token in row.tokens if not token.is_cut],
        cut=f"cut here, at the length of {max_seq_length:,}: {lost} lost" if is_cut else "",
        beyond=[_token(token) for token in row.tokens if token.is_cut],
        more=f"and {count(row.length - len(row.tokens), 'token')} more" if len(row.tokens) < row.length else "",
        message=end,
        kind="good" if row.end_is_trained else "warning",
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


def preparing_text(state: Preparing) -> Markup:
    """How far the reading of all rows is, or its result."""
    if state.doing:
        words = f"Reading the rows: {state.rows:,} so far" + (f" ({state.share:.0%})" if state.share else "") + "…"
        return render_part(TEMPLATE, "reading", words=words, share=state.share or 0.0)
    if state.error:
        return notice(state.error, "error") + left_out_text(state)
    if state.survey is None:
        return Markup()
    return render_part(
        TEMPLATE,
        "whole",
        names=_names(state.path),
        lines=state.notes,
        survey=survey_text(state.survey, state.max_seq_length, state.packing),
        left_out=left_out_text(state),
    )


def survey_text(found: Survey, max_seq_length: int, packing: str) -> Markup:
    """The figures of the whole set, with warnings and the histogram of lengths. `packing` is a key of `PACKING`."""
    pieces = f", {found.used:,} pieces" if found.pieces else ""
    split = f"{found.train_rows:,} for training, {found.validation_rows:,} for validation"
    whose = "validation row" if found.longest_is_validation else "row"
    cut = f"{count(found.cut_rows, 'row')}, losing {count(found.lost_tokens, 'token')}" if found.cut_rows else "none"
    facts = [
        ("Rows", f"{found.rows:,} read{pieces}; {split}"),
        ("Tokens", f"{found.tokens:,}; {found.trained_tokens:,} trained on ({percent(found.trained_share)})"),
        ("Longest row", f"{whose} {found.longest_row:,} with {count(found.longest, 'token')} of {max_seq_length:,}"),
        ("Cut off", cut),
        ("One epoch", f"{count(found.epoch_steps, 'step')} of {count(found.step_rows, 'row')}"),
        ("Duplicates", f"{count(found.repeated, 'row')} in training; {found.shared:,} in both training and validation"),
        ("Packing", PACKING[packing]),
    ]
    chart = length_chart(found, max_seq_length)
    return render_part(TEMPLATE, "survey", warnings=found.warnings, rows=facts, chart=chart)


def left_out_text(state: Preparing) -> Markup:
    """Which rows are left out, and why."""
    parts = Markup()
    for left, of in ((state.left_out, "row"), (state.validation_left_out, "validation row")):
        if left and left.total:
            parts += _left_out(left, f"{count(left.total, of)} left out: {left.in_words()}.")
    return parts


def _left_out(left: LeftOut, message: str) -> Markup:
    listed = left.first[:MOST_LEFT_OUT]
    rows = tuple(
        {"row": f"{one.number:,}", "why": one.reason, "where": one.place, "content": one.excerpt} for one in listed
    )
    more = ""
    if left.total > len(rows):
        more = f"and {left.total - len(rows):,} more{', all in the file to download' if left.path else ''}."
    table = table_text(("row", "why", "where", "content"), rows)
    return render_part(TEMPLATE, "left_out", message=message, table=table, more=more)


def _names(path: str) -> str:
    """The names of the files without their folders, at most three of them."""
    names = [line.strip().rstrip("/").rpartition("/")[2] for line in path.splitlines() if line.strip()]
    more = len(names) - MOST_FILES_NAMED
    return ", ".join(names[:MOST_FILES_NAMED]) + (f" and {more:,} more" if more > 0 else "")
