"""All rows of a set as HTML: how far reading them is, their figures, and those that are left out."""

from markupsafe import Markup

from core.data.prepared.left_out import LeftOut
from core.data.prepared.survey import Survey
from core.problems import mark, tr, trn
from core.workbench.rows_of_the_form import Preparing
from ui.data.length_chart import length_chart
from ui.data.rows_view import TEMPLATE, table_text
from ui.shared.formatting import notice, percent
from ui.shared.html import render_part

MOST_FILES_NAMED = 3
MOST_LEFT_OUT = 20  # rows listed; the file to download has them all
OTHER_ROWS = mark("These rows have not been checked with these settings. Check all rows to see their figures.")
PACKING = {
    "on": mark("on: several rows fill a sequence"),
    "off": mark("off: each row is a sequence, padded to the longest of its batch"),
    "unavailable": mark("off, although you turned it on: without a GPU nothing keeps packed rows apart"),
}


def preparing_text(state: Preparing) -> Markup:
    """How far the reading of all rows is, or its result."""
    if state.doing:
        if state.share:
            words = tr("Reading the rows: {rows:,} so far ({share:.0%})…", rows=state.rows, share=state.share)
        else:
            words = tr("Reading the rows: {rows:,} so far…", rows=state.rows)
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
    tokens = tr(
        "{tokens:,}; {trained:,} trained on ({share})",
        tokens=found.tokens,
        trained=found.trained_tokens,
        share=percent(found.trained_share),
    )
    repeated = trn(
        "{count:,} row in training; {shared:,} in both training and validation",
        "{count:,} rows in training; {shared:,} in both training and validation",
        found.repeated,
        shared=found.shared,
    )
    epoch = tr(
        "{steps} of {rows}",
        steps=trn("{count:,} step", "{count:,} steps", found.epoch_steps),
        rows=_rows(found.step_rows),
    )
    facts = [
        (tr("Rows"), _read(found)),
        (tr("Tokens"), tokens),
        (tr("Longest row"), _longest(found, max_seq_length)),
        (tr("Cut off"), _cut_off(found)),
        (tr("One epoch"), epoch),
        (tr("Duplicates"), repeated),
        (tr("Packing"), tr(PACKING[packing])),
    ]
    chart = length_chart(found, max_seq_length)
    return render_part(TEMPLATE, "survey", warnings=found.warnings, rows=facts, chart=chart)


def _read(found: Survey) -> str:
    about = {"rows": found.rows, "train": found.train_rows, "validation": found.validation_rows}
    if found.pieces:
        return tr(
            "{rows:,} read, {pieces:,} pieces; {train:,} for training, {validation:,} for validation",
            pieces=found.used,
            **about,
        )
    return tr("{rows:,} read; {train:,} for training, {validation:,} for validation", **about)


def _longest(found: Survey, max_seq_length: int) -> str:
    about = {"row": found.longest_row, "length": max_seq_length}
    if found.longest_is_validation:
        return trn(
            "validation row {row:,} with {count:,} token of {length:,}",
            "validation row {row:,} with {count:,} tokens of {length:,}",
            found.longest,
            **about,
        )
    return trn(
        "row {row:,} with {count:,} token of {length:,}",
        "row {row:,} with {count:,} tokens of {length:,}",
        found.longest,
        **about,
    )


def _cut_off(found: Survey) -> str:
    if not found.cut_rows:
        return tr("none")
    lost = trn("{count:,} token", "{count:,} tokens", found.lost_tokens)
    return tr("{rows}, losing {tokens}", rows=_rows(found.cut_rows), tokens=lost)


def _rows(number: int) -> str:
    return trn("{count:,} row", "{count:,} rows", number)


def left_out_text(state: Preparing) -> Markup:
    """Which rows are left out, and why."""
    parts = Markup()
    if (left := state.left_out) and left.total:
        words = trn(
            "{count:,} row left out: {reasons}.",
            "{count:,} rows left out: {reasons}.",
            left.total,
            reasons=left.in_words(),
        )
        parts += _left_out(left, words)
    if (left := state.validation_left_out) and left.total:
        words = trn(
            "{count:,} validation row left out: {reasons}.",
            "{count:,} validation rows left out: {reasons}.",
            left.total,
            reasons=left.in_words(),
        )
        parts += _left_out(left, words)
    return parts


def _left_out(left: LeftOut, message: str) -> Markup:
    listed = left.first[:MOST_LEFT_OUT]
    columns = (tr("row"), tr("why"), tr("where"), tr("content"))
    rows = tuple(
        dict(zip(columns, (f"{one.number:,}", one.reason, one.place, one.excerpt), strict=True)) for one in listed
    )
    more = left.total - len(rows)
    words = mark("and {more:,} more, all in the file to download.") if left.path else mark("and {more:,} more.")
    table = table_text(columns, rows)
    return render_part(
        TEMPLATE, "left_out", message=message, table=table, more=tr(words, more=more) if more > 0 else ""
    )


def _names(path: str) -> str:
    """The names of the files without their folders, at most three of them."""
    names = [line.strip().rstrip("/").rpartition("/")[2] for line in path.splitlines() if line.strip()]
    first, more = ", ".join(names[:MOST_FILES_NAMED]), len(names) - MOST_FILES_NAMED
    return tr("{names} and {more:,} more", names=first, more=more) if more > 0 else first
