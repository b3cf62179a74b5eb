"""A run's own prompts as timelines, as HTML: what the base answered, and the tuned model as it learned."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from core.problems import tr, trn
from core.runs.snapshot import Snapshot
from ui.shared.html import render_part

MOST_ENTRIES = 12  # per prompt, the base's answer included; fewer where there are many prompts,
MOST_ENTRIES_IN_ALL = 36  # so that the page stays small enough to read and to send
MOST_CHARACTERS = 600  # per prompt or answer


@dataclass
class _Stretch:
    """Answers to one prompt that stayed the same from step `first` to step `last`."""

    first: int
    last: int
    answer: str


def samples_text(snapshot: Snapshot) -> Markup:
    """For each prompt the base's answer, and below it the tuned model's, the newest first.

    Answers that stay the same are one entry. Empty when the run has no prompts.
    """
    prompts = list(dict.fromkeys(prompt for sampled in snapshot.samples for prompt in sampled.prompts))
    if not prompts:
        return Markup()
    entries = min(MOST_ENTRIES, max(MOST_ENTRIES_IN_ALL // len(prompts), 2))
    timelines = [_timeline(snapshot, prompt, entries) for prompt in prompts]
    return render_part("train/samples.html", "samples", timelines=timelines)


def _timeline(snapshot: Snapshot, prompt: str, most: int) -> dict[str, Any]:
    base, stretches = None, []
    for sampled in snapshot.samples:
        if prompt not in sampled.prompts:
            continue
        answer = sampled.answers[sampled.prompts.index(prompt)]
        if sampled.by == "base":
            base = answer
        elif stretches and stretches[-1].answer == answer:
            stretches[-1].last = sampled.step
        else:
            stretches.append(_Stretch(sampled.step, sampled.step, answer))
    shown = stretches[-(most - (base is not None)) :]
    entries = [] if base is None else [_entry("base", tr("base"), base)]
    entries += [_entry("tuned", _when(stretch), stretch.answer) for stretch in reversed(shown)]
    left_out = len(stretches) - len(shown)
    return {
        "prompt": _cut(prompt),
        "entries": entries,
        "left_out": trn("{count:,} earlier answer not shown here", "{count:,} earlier answers not shown here", left_out)
        if left_out
        else "",
    }


def _when(stretch: _Stretch) -> str:
    if stretch.last > stretch.first:
        return tr("step {step:,}, the same since step {first:,}", step=stretch.last, first=stretch.first)
    return tr("step {step:,}", step=stretch.last)


def _entry(by: str, when: str, answer: str) -> dict[str, Any]:
    return {"by": by, "when": when, "answer": _cut(answer) if answer.strip() else None}


def _cut(text: str) -> dict[str, str]:
    """The start of a text, and how much more there is when that is not all of it."""
    rest = ""
    if len(text) > MOST_CHARACTERS:
        rest = trn(
            "… cut here; the whole text has {count:,} character",
            "… cut here; the whole text has {count:,} characters",
            len(text),
        )
    return {"start": text[:MOST_CHARACTERS], "rest": rest}
