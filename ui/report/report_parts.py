"""Parts of a run's report: measures, blind votes and settings as HTML, each thinned to what a person reads.

Everything that a person or a model wrote is escaped. Knows nothing of gradio, torch or the rest of the report.
"""

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from core.comparing.votes import Tally, Vote, read_votes, tally
from core.evaluation.record import Evaluation, ReadRow
from core.evaluation.saved import load_evaluations
from core.runs.adapter_ref import Pane
from core.settings.run_config import RunConfig, fields
from ui.compare.measure_view import evaluation_text
from ui.shared.formatting import count, pane_label, percent, when

LIST_BYTES = 120_000  # of a list to read
MOST_EVALUATIONS, MOST_PAIRS = 4, 12
ROWS_BYTES = 25_000  # of the rows to read of one evaluation
PROMPT_CHARACTERS, ANSWER_CHARACTERS, VALUE_CHARACTERS = 400, 600, 1500
PATHS = {"model.model_name", "model.trust_remote_code", "data.path", "data.validation_path", "adapter.continue_from"}


def card(title: str, inner: str) -> str:
    return f'<section class="card"><h3>{title}</h3>{inner}</section>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A list of names and values; the values are HTML."""
    return f'<dl class="facts">{"".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in rows)}</dl>'


def folded(summary: str, inner: str) -> str:
    return f"<details><summary>{summary}</summary>{inner}</details>"


def _cut(text: str, most: int) -> str:
    """Escaped, and cut, with the length that it has."""
    if len(text) <= most:
        return escape(text)
    return f'{escape(text[:most])}<span class="gap">{_in_all(text)}</span>'


def _short(text: str, most: int) -> str:
    """The same as plain text."""
    return text if len(text) <= most else f"{text[:most]}{_in_all(text)}"


def _in_all(text: str) -> str:
    return f"… {len(text):,} characters in all"


def _first(entries: Iterable[str], most_bytes: int) -> tuple[str, int]:
    """As many entries as there is room for, and how many those are."""
    taken, size = [], 0
    for entry in entries:
        size += len(entry.encode("utf-8", "replace"))
        if size > most_bytes:
            break
        taken.append(entry)
    return "".join(taken), len(taken)


# Measures


def measures_text(run_dir: Path) -> str:
    """The newest evaluations: what was measured, and rows to read. Empty when there are none."""
    found = load_evaluations(run_dir)
    older = len(found) - MOST_EVALUATIONS
    left_out = f'<p class="gap">{count(older, "earlier one")} not shown here.</p>' if older > 0 else ""
    shown = (f"<h2>Measured, {when(one.made)}</h2>{evaluation_text(_thinned(one))}" for one in found[:MOST_EVALUATIONS])
    return "".join(shown) + left_out


def _thinned(found: Evaluation) -> Evaluation:
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


def votes_text(run_dir: Path) -> str:
    """For each pair that was voted on what can be said of it, and the newest votes to read. Empty without votes."""
    try:
        votes, damaged = read_votes(run_dir)
    except OSError:
        return ""
    if not votes:
        return ""
    pairs = list(dict.fromkeys((vote.contender, vote.other) for vote in votes))
    told = "".join(_tally(*pair, tally(votes, *pair)) for pair in pairs[:MOST_PAIRS])
    if len(pairs) > MOST_PAIRS:
        told += f'<p class="gap">{count(len(pairs) - MOST_PAIRS, "further pair")} not shown here.</p>'
    lost = f"<p>{count(damaged, 'line')} among the votes cannot be read.</p>" if damaged else ""
    listed, shown = _first((_vote(vote) for vote in reversed(votes)), LIST_BYTES)
    which = f"The newest {shown:,} of {len(votes):,} votes" if shown < len(votes) else count(len(votes), "vote")
    return card("Blind votes", told + lost + folded(f"{which}, to read", f'<ol class="votes">{listed}</ol>'))


def _tally(contender: str, other: str, counted: Tally) -> str:
    said = f"<p><b>{_pane(contender)} against {_pane(other)}.</b> {escape(counted.words)}</p>"
    if not counted.interval:
        return said
    low, high = counted.interval
    rest = [count(counted.ties, "tie")] * bool(counted.ties) + [f"{counted.bad:,} times both bad"] * bool(counted.bad)
    rest += [f"{count(counted.repeated, 'repeated vote')} not counted"] * bool(counted.repeated)
    besides = f" Besides: {', '.join(rest)}." if rest else ""
    return (
        f'{said}<p class="soft">It won {percent(counted.win_rate)} of the votes that chose a side '
        f"(95% interval {low:.0%} to {high:.0%}; sign test p = {counted.p_value:.2g}).{besides}</p>"
    )


def _vote(vote: Vote) -> str:
    chosen = {"tie": "a tie", "bad": "both bad"}.get(vote.choice) or f"chosen: {_pane(vote.winner)}"
    sides = "".join(
        _side("base" if Pane.from_key(key).is_base else "tuned", _pane(key), answer, " won" * (key == vote.winner))
        for key, answer in ((vote.left, vote.left_answer), (vote.right, vote.right_answer))
    )
    return f'<li>{_asked(vote.prompt)}<div class="sides">{sides}</div><p class="soft">{chosen}</p></li>'


def _pane(key: str) -> str:
    pane = Pane.from_key(key)
    return "base" if pane.is_base else escape(pane_label(pane)[:120])


def _asked(prompt: str) -> str:
    return f'<p class="asked">{_cut(prompt, PROMPT_CHARACTERS)}</p>'


def _side(style: str, title: str, answer: str, won: str) -> str:
    """One of two answers side by side; the title is HTML."""
    text = _cut(answer, ANSWER_CHARACTERS) if answer.strip() else '<span class="nothing">it said nothing</span>'
    return f'<div class="side {style}{won}"><b>{title}</b><p>{text}</p></div>'


# Settings


def settings_text(config: RunConfig) -> str:
    """Those that differ from the defaults, and all of them folded."""
    values, usual = _flat(config), _flat(RunConfig())
    own = [
        (_title(key), f'{_value(key, value)} <span class="gap">(usually {_value(key, usual[key])})</span>')
        for key, value in values.items()
        if value != usual[key]
    ]
    are = "is" if len(own) == 1 else "are"
    said = f"{count(len(own), 'setting')} of {len(values)} {are} not the usual:"
    said = said if own else "All settings are the usual ones."
    every = facts((_title(key), _value(key, value)) for key, value in values.items())
    every = folded(f"All {len(values)} settings", every)
    return card("Settings", f"<p>{said}</p>{facts(own) if own else ''}{every}")


def _flat(config: RunConfig) -> dict[str, object]:
    return {f"{part}.{name}": value for part, section in config.model_dump().items() for name, value in section.items()}


def _title(key: str) -> str:
    return f"{fields()[key].title} ({key})"


def _value(key: str, value: object) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in PATHS:
        return short_names(str(value))
    between = "\n" if key == "training.sample_prompts" else ", "
    return _cut(between.join(map(str, value)) if isinstance(value, list) else str(value), VALUE_CHARACTERS)


def short_names(paths: str) -> str:
    """The names in a setting that takes one path a line, without their folders. HTML."""
    names = [short_name(line)[:200] for line in paths.splitlines()]
    return escape(", ".join(names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def short_name(path: str) -> str:
    """The last part of a path; owner/name of Hugging Face, or a file beside the program, as it is. Not escaped."""
    is_path = path.startswith(("/", "~", ".")) or "\\" in path or re.match("[A-Za-z]:", path) or path.count("/") > 1
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] if is_path else path
