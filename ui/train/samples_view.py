"""A run's own prompts as timelines: what the base answered, and the tuned model as it learned. Text only; knows
nothing of gradio."""

from dataclasses import dataclass
from html import escape

from core.runs.snapshot import Snapshot
from ui.shared.formatting import count

MOST_MOMENTS = 12  # of a prompt, the base's answer among them; fewer where there are many prompts,
MOST_ANSWERS = 36  # because a page must not grow beyond what is read and sent
MOST_CHARACTERS = 600  # of an answer


@dataclass
class _Stretch:
    """Moments one after the other with the same answer."""

    first: int
    last: int
    answer: str


def samples_text(snapshot: Snapshot) -> str:
    """For each prompt the base's answer, and below it the tuned model's, the newest first: that is the one that is
    looked for. Answers that stay the same are one entry. Empty when nothing was asked; everything is escaped."""
    prompts = list(dict.fromkeys(prompt for sampled in snapshot.samples for prompt in sampled.prompts))
    if not prompts:
        return ""
    moments = min(MOST_MOMENTS, max(MOST_ANSWERS // len(prompts), 2))
    timelines = "".join(_timeline(snapshot, prompt, moments) for prompt in prompts)
    return f'<section class="card samples"><h3>What it answers as it learns</h3>{timelines}</section>'


def _timeline(snapshot: Snapshot, prompt: str, moments: int) -> str:
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
    shown = stretches[-(moments - (base is not None)) :]
    entries = [_entry("tuned", _when(stretch), stretch.answer) for stretch in reversed(shown)]
    if left_out := len(stretches) - len(shown):
        entries.append(f'<li class="gap">{count(left_out, "earlier answer")} not shown here</li>')
    first = _entry("base", "base", base) if base is not None else ""
    return f'<p class="asked">{_cut(prompt)}</p><ul class="timeline">{first}{"".join(entries)}</ul>'


def _when(stretch: _Stretch) -> str:
    since = f", the same since step {stretch.first:,}" if stretch.last > stretch.first else ""
    return f"step {stretch.last:,}{since}"


def _entry(by: str, when: str, answer: str) -> str:
    text = _cut(answer) if answer.strip() else '<span class="nothing">it said nothing</span>'
    return f'<li class="{by}"><b>{when}</b><span>{text}</span></li>'


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return escape(text)
    return f'{escape(text[:MOST_CHARACTERS])}<span class="gap">… cut here, it has {len(text):,} characters</span>'
