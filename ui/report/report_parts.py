"""Parts of a run's report: measures, blind votes and settings as HTML, each thinned to what a person reads."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup, escape

from core.comparing.votes import Tally, Vote, read_votes, tally
from core.evaluation.record import Evaluation, ReadRow
from core.evaluation.saved import load_evaluations
from core.problems import tr, trn
from core.runs.adapter_ref import Pane
from core.settings.run_config import RunConfig, fields, flatten
from ui.compare.measure_view import evaluation_text
from ui.shared.formatting import pane_label, percent, run_label, setting_text, when
from ui.shared.html import render_part

TEMPLATE = "report/parts.html"
LIST_BYTES = 120_000  # of a list to read
MOST_EVALUATIONS, MOST_PAIRS = 4, 12
ROWS_BYTES = 25_000  # of the rows to read of one evaluation
PROMPT_CHARACTERS, ANSWER_CHARACTERS, VALUE_CHARACTERS, NAME_CHARACTERS = 400, 600, 1500, 120
PATHS = {"model.model_name", "model.trust_remote_code", "data.path", "data.validation_path", "adapter.continue_from"}


@dataclass(frozen=True)
class CutText:
    """The start of a text, and the words that say how long it is when that is not all."""

    start: str
    rest: str = ""


def cut(text: str, most: int) -> CutText:
    """At most that many characters of the text."""
    return (
        CutText(text)
        if len(text) <= most
        else CutText(text[:most], tr("… {count:,} characters in all", count=len(text)))
    )


def _short(text: str, most: int) -> str:
    """The same as plain text."""
    found = cut(text, most)
    return found.start + found.rest


def _first(entries: Iterable[Markup], most_bytes: int) -> list[Markup]:
    """As many entries as there is room for."""
    taken, size = [], 0
    for entry in entries:
        size += len(entry.encode("utf-8", "replace"))
        if size > most_bytes:
            break
        taken.append(entry)
    return taken


# Measures


def measures_text(run_dir: Path, label: Callable[[str], str] = run_label) -> Markup:
    """The newest evaluations: what was measured, and rows to read. Empty when there are none."""
    found = load_evaluations(run_dir)
    parts = [
        render_part(
            TEMPLATE,
            "titled",
            title=tr("Measured, {when}", when=when(one.made)),
            inner=evaluation_text(thinned(one), label),
        )
        for one in found[:MOST_EVALUATIONS]
    ]
    older = len(found) - MOST_EVALUATIONS
    if older > 0:
        words = trn("{count:,} earlier one not shown here.", "{count:,} earlier ones not shown here.", older)
        parts.append(render_part(TEMPLATE, "gap", words=words))
    return Markup().join(parts)


def thinned(found: Evaluation) -> Evaluation:
    """With the first of its rows to read, their texts cut."""
    left, kept = ROWS_BYTES, {}
    for kind in ("gained", "lost", "differing"):
        kept[kind] = ()
        for row in map(_cut_row, getattr(found, kind)):
            left -= len(escape(repr(row)).encode("utf-8", "replace"))
            if left > 0:
                kept[kind] += (row,)
    return found.model_copy(update=kept)


def _cut_row(row: ReadRow) -> ReadRow:
    texts = {
        "question": PROMPT_CHARACTERS,
        "reference": ANSWER_CHARACTERS,
        "base": ANSWER_CHARACTERS,
        "tuned": ANSWER_CHARACTERS,
    }
    return row.model_copy(
        update={name: getattr(row, name) and _short(getattr(row, name), most) for name, most in texts.items()}
    )


# Votes


def votes_text(run_dir: Path, label: Callable[[Pane], str] = pane_label) -> Markup:
    """For each pair of models the tally of its votes, and the newest votes to read. Empty without votes."""
    try:
        votes, damaged = read_votes(run_dir)
    except OSError:
        return Markup()
    if not votes:
        return Markup()
    name = partial(_pane, label)
    pairs = list(dict.fromkeys((vote.contender, vote.other) for vote in votes))
    further = len(pairs) - MOST_PAIRS
    entries = _first((_vote(vote, name) for vote in reversed(votes)), LIST_BYTES)
    shown, more = len(entries), ""
    if further > 0:
        more = trn("{count:,} further pair not shown here.", "{count:,} further pairs not shown here.", further)
    lost = trn(
        "{count:,} line among the votes cannot be read.", "{count:,} lines among the votes cannot be read.", damaged
    )
    summary = trn("{count:,} vote, to read", "{count:,} votes, to read", shown)
    if shown < len(votes):
        summary = tr("The newest {shown:,} of {total:,} votes, to read", shown=shown, total=len(votes))
    return render_part(
        TEMPLATE,
        "votes",
        tallies=[_tally(*map(name, pair), tally(votes, *pair)) for pair in pairs[:MOST_PAIRS]],
        more_pairs=more,
        damaged=lost if damaged else "",
        summary=summary,
        entries=entries,
    )


def _tally(contender: str, other: str, counted: Tally) -> dict[str, str]:
    """The names, the tally in words, and its figures; `rest` is empty while no vote chose a side."""
    rest = ""
    if counted.interval:
        low, high = counted.interval
        rest = tr(
            "It won {share} of the votes for a side (95% interval {low:.0%} to {high:.0%}; sign test p = {p:.2g}).",
            share=percent(counted.win_rate),
            low=low,
            high=high,
            p=counted.p_value,
        )
        further = []
        if counted.ties:
            further.append(trn("{count:,} tie", "{count:,} ties", counted.ties))
        if counted.bad:
            further.append(tr("{count:,} both bad", count=counted.bad))
        if counted.repeated:
            repeated = counted.repeated
            further.append(trn("{count:,} repeated vote not counted", "{count:,} repeated votes not counted", repeated))
        if further:
            rest += " " + tr("In addition: {votes}.", votes=", ".join(further))
    return {"contender": contender, "other": other, "words": counted.words, "rest": rest}


def _vote(vote: Vote, name: Callable[[str], str]) -> Markup:
    without_winner = {"tie": tr("a tie"), "bad": tr("both bad")}
    chosen = without_winner.get(vote.choice) or tr("chosen: {model}", model=name(vote.winner))
    sides = [_side(vote, name, vote.left, vote.left_answer), _side(vote, name, vote.right, vote.right_answer)]
    return render_part(TEMPLATE, "vote", prompt=cut(vote.prompt, PROMPT_CHARACTERS), sides=sides, chosen=chosen)


def _side(vote: Vote, name: Callable[[str], str], key: str, answer: str) -> dict:
    style = "base" if Pane.from_key(key).is_base else "tuned"
    return {
        "style": f"{style} won" if key == vote.winner else style,
        "title": name(key),
        "answer": cut(answer, ANSWER_CHARACTERS) if answer.strip() else None,
    }


def _pane(label: Callable[[Pane], str], key: str) -> str:
    pane = Pane.from_key(key)
    return tr("base") if pane.is_base else label(pane)[:NAME_CHARACTERS]


# Settings


def settings_text(config: RunConfig) -> Markup:
    """The settings that differ from the defaults, and all of them folded."""
    values, defaults = flatten(config), flatten(RunConfig())
    own = [
        _setting(key, value) | {"default": _value(key, defaults[key])}
        for key, value in values.items()
        if value != defaults[key]
    ]
    words = tr("All settings have their default values.")
    if own:
        words = trn(
            "{count} of {total} settings differs from its default:",
            "{count} of {total} settings differ from their defaults:",
            len(own),
            total=len(values),
        )
    every = [_setting(key, value) for key, value in values.items()]
    return render_part(TEMPLATE, "settings", words=words, own=own, every=every)


def _setting(key: str, value: object) -> dict:
    return {"title": f"{fields()[key].title} ({key})", "value": _value(key, value)}


def _value(key: str, value: object) -> CutText:
    if key in PATHS and value:
        return CutText(short_names(str(value)))
    between = "\n" if key == "training.sample_prompts" else ", "  # prompts may contain commas
    return cut(setting_text(key, value, between), VALUE_CHARACTERS)


def short_names(paths: str) -> str:
    """The names in a setting that takes one path a line, without their folders."""
    names = [short_name(line)[:200] for line in paths.splitlines()]
    if len(names) <= 5:
        return ", ".join(names)
    return tr("{names} and {count:,} more", names=", ".join(names[:5]), count=len(names) - 5)


def short_name(path: str) -> str:
    """The last part of a path; owner/name of Hugging Face, or a file beside the program, as it is."""
    is_path = path.startswith(("/", "~", ".")) or "\\" in path or re.match("[A-Za-z]:", path) or path.count("/") > 1
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] if is_path else path
