"""Rows as HTML: the first as they stand in the file, one token by token, and what a whole set comes to.

Knows nothing of gradio.
"""

from html import escape
from typing import Any

from core.data.columns.shape import Shape
from core.data.prepared.left_out import LeftOut
from core.data.prepared.row_view import RowView, Token
from core.data.prepared.survey import Survey
from core.workbench.rows_of_the_form import Look, Preparing
from ui.data.length_chart import length_chart
from ui.shared.formatting import bar, count, notice, percent

SHOWN_CHARACTERS = 160
SHOWN_COLUMNS = 30
PACKING = {
    "on": "on: several rows fill a sequence",
    "off": "off: each row is a sequence, filled up to the longest of its batch",
    "unavailable": "off, though asked for: without a GPU there is nothing that keeps packed rows apart",
}
LISTED_LEFT_OUT = 20


def look_text(look: Look) -> str:
    """What was assumed, what the rows look like, and the first of them."""
    parts = [_notes(look.notes)]
    if look.shape:
        parts.append(notice(shape_words(look.shape), "good" if look.shape.is_sure else "warning"))
    if look.trouble and not (look.shape and not look.shape.is_sure):
        parts.append(notice(look.trouble, "error"))
    return "".join(parts) + table_text(look.columns, look.rows)


def _notes(notes: tuple[str, ...]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def shape_words(shape: Shape) -> str:
    """Looks like question and answer: "Q" asks, "A" answers."""
    kinds = {
        "alpaca": "Alpaca rows",
        "question": "question and answer",
        "messages": "chat messages",
        "sharegpt": "ShareGPT conversations",
        "text": "plain text for continued pretraining",
        "columns": "a text of your own making",
    }
    if shape.is_sure:
        return f"Looks like {kinds[shape.name]}: {shape.reason}."
    return f"Perhaps {kinds[shape.name]}: {shape.reason}. Choose the columns below, or use the guess."


def table_text(columns: tuple[str, ...], rows: tuple[dict[str, Any], ...]) -> str:
    more = len(columns) - SHOWN_COLUMNS
    columns = columns[:SHOWN_COLUMNS]
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    head += f"<th>and {more:,} more columns</th>" if more > 0 else ""
    body = "".join(
        f"<tr>{''.join(f'<td dir=auto>{_cell(row.get(column))}</td>' for column in columns)}</tr>" for row in rows
    )
    return (
        f'<div class="sheet"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>' if rows else ""
    )


def _cell(value: Any) -> str:
    if value is None:
        return '<span class="empty">empty</span>'
    text = str(value)
    return escape(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")


def row_text(row: RowView, max_seq_length: int) -> str:
    """One row, every token of it; what lies beyond the length stands behind a mark."""
    body = "".join(map(_token, (token for token in row.tokens if not token.is_cut)))
    beyond = [token for token in row.tokens if token.is_cut]
    if row.length > row.kept:
        lost = count(row.length - row.kept, "token")
        body += f'<b class="cut">cut here, at the length of {max_seq_length:,}: {lost} lost</b>' + "".join(
            map(_token, beyond)
        )
    if len(row.tokens) < row.length:
        body += f'<b class="cut">and {count(row.length - len(row.tokens), "token")} more</b>'
    side = "kept back to check with" if row.is_validation else "to train on"
    facts = f"{count(row.length, 'token')}, {row.trained:,} of them trained on · {side}"
    return (
        f'<figure class="rendered"><figcaption>Row {row.row:,} · {facts}</figcaption>'
        f'<pre tabindex="0" aria-label="tokens of row {row.row}">{body}</pre></figure>{_end_words(row)}'
    )


def _end_words(row: RowView) -> str:
    if row.end_is_trained:
        return notice(f"The end mark {row.end_name} is trained on: the model learns to stop.", "good")
    why = "it lies beyond the cut" if row.length > row.kept else "it does not end the answer"
    return notice(
        f"The end mark {row.end_name} is missing ({why}): from this row the model learns to go on talking.", "warning"
    )


def _token(token: Token) -> str:
    kinds = [
        name
        for name, applies in (
            ("t", token.is_trained),
            ("s", token.is_special),
            ("x", token.is_cut),
            ("p", not token.text),
        )
        if applies
    ]
    # A line break is shown as such, and still breaks the line.
    text = escape(token.text).replace("\n", "⏎\n")
    return f'<i class="{" ".join(kinds)}" title="{token.id}">{text}</i>'


LEGEND = (
    '<p class="legend tokens"><i class="t">trained on</i><i>read only</i><i class="s">special token</i>'
    '<i class="x">cut off</i><span>⏎ is a line break, · a part of a character; hover for a token\'s number.</span></p>'
)


def preparing_text(state: Preparing) -> str:
    """How far the reading of all rows is, or what it came to."""
    if state.doing:
        words = f"Reading the rows: {state.rows:,} so far" + (f" ({state.share:.0%})" if state.share else "") + "…"
        return notice(words) + bar(state.share or 0.0, "rows read")
    if state.error:
        return notice(state.error, "error") + left_out_text(state)
    if state.survey is None:
        return ""
    of = f'<h3 class="of">All rows of {escape(_names(state.path))}</h3>'
    return (
        of + _notes(state.notes) + survey_text(state.survey, state.max_seq_length, state.packing) + left_out_text(state)
    )


def survey_text(found: Survey, max_seq_length: int, packing: str) -> str:
    """The whole set in figures, with warnings and the histogram of lengths."""
    cut = f"{count(found.cut_rows, 'row')}, losing {count(found.lost_tokens, 'token')}" if found.cut_rows else "none"
    facts = [
        (
            "Rows",
            f"{found.rows:,} read{f', {found.used:,} pieces' if found.pieces else ''}; {found.train_rows:,} to train, "
            f"{found.validation_rows:,} to check with",
        ),
        ("Tokens", f"{found.tokens:,}; {found.trained_tokens:,} trained on ({percent(found.trained_share)})"),
        (
            "Longest row",
            f"{'validation ' if found.longest_is_validation else ''}row {found.longest_row:,} with {count(found.longest, 'token')} of {max_seq_length:,}",
        ),
        ("Cut off", cut),
        ("One epoch", f"{count(found.epoch_steps, 'step')} of {count(found.step_rows, 'row')}"),
        ("Repeated", f"{count(found.repeated, 'row')} in training; {found.shared:,} in both training and validation"),
        ("Packing", PACKING[packing]),
    ]
    table = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts)
    warnings = "".join(notice(warning, "warning") for warning in found.warnings)
    return f'{warnings}<div class="survey"><dl class="facts">{table}</dl>{length_chart(found, max_seq_length)}</div>'


def left_out_text(state: Preparing) -> str:
    """Which rows are left out, and why."""
    parts = []
    for left, of in ((state.left_out, "row"), (state.validation_left_out, "validation row")):
        if left and left.total:
            parts.append(notice(f"{count(left.total, of)} left out: {left.in_words()}.", "warning") + _listed(left))
    return "".join(parts)


def _listed(left: LeftOut) -> str:
    rows = tuple(
        {"row": f"{r.number:,}", "why": r.reason, "where": r.place, "content": r.excerpt}
        for r in left.first[:LISTED_LEFT_OUT]
    )
    more = ""
    if left.total > len(rows):
        all_of_them = ", all in the file to download" if left.path else ""
        more = f'<p class="figures">and {left.total - len(rows):,} more{all_of_them}.</p>'
    return f"<details><summary>See them</summary>{table_text(('row', 'why', 'where', 'content'), rows)}{more}</details>"


def _names(path: str) -> str:
    """The names that a person knows, without the folders; three of them at most."""
    names = [line.strip().rstrip("/").rpartition("/")[2] for line in path.splitlines() if line.strip()]
    return ", ".join(names[:3]) + (f" and {count(len(names) - 3, 'more', 'more')}" if len(names) > 3 else "")
