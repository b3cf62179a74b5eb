"""Whether a run fits on a card, as words and one bar; what a probe measured. Knows nothing of gradio, torch or files.

A button says what it asks for, as in `ui.runs.runs_table`: `data-ask="apply"` with settings, or `data-ask="fetch"`.
"""

import json
from collections.abc import Sequence
from html import escape

from core.memory.cards import Card
from core.memory.estimate import verdict
from core.memory.parts import PARTS, Estimate
from core.memory.probe_record import ProbeRecord
from core.memory.suggestions import WORTH_SAYING, Suggestion
from core.training.largest_batch import BatchFound, Tried
from core.workbench.probe_job import Probing
from ui.shared.formatting import count, duration, gib, notice, pace, size

THIS_MACHINE = "this machine"  # as a card's name
MOST_SUGGESTIONS = 5
WHAT_A_PROBE_IS = (
    "To be sure, measure on this machine: both load the model, take real steps at the full length, undo them. "
    "The second tries larger and larger batches."
)
BATCH, ACCUMULATION = "training.per_device_train_batch_size", "training.gradient_accumulation_steps"


def fit_text(
    estimate: Estimate,
    card: Card,
    suggestions: Sequence[Suggestion] = (),
    to_fit: Sequence[Suggestion] = (),
    basis: Sequence[str] = (),
    warning: str = "",
) -> str:
    """The verdict in words, the bar with its legend, and what would help where there is little room.

    `suggestions` are each by itself, `to_fit` one on top of the other; `basis` are sentences on what the figures stand
    on, `warning` is one about these settings.
    """
    stands_on = f'<p class="fit-basis">{escape(" ".join(filter(None, basis)))}</p>' if any(basis) else ""
    return (
        f'<section class="fit">{_verdict(estimate, card)}{_bar(estimate, card)}{_legend(estimate, card)}{stands_on}'
        f"{notice(warning, 'warning')}{_changes(estimate, card, suggestions, to_fit)}</section>"
    )


def _verdict(estimate: Estimate, card: Card) -> str:
    """Fits, tight or not, and by how much."""
    total, usable, found = estimate.total_gib, card.usable_gib, verdict(estimate, card)
    words = {"fits": "Fits.", "tight": "Tight.", "no": "Does not fit."}[found]
    whose = card.name if card.name == THIS_MACHINE else f"the {card.name}"
    takes = f"It takes about <b>{size(total)}</b>; {escape(whose)} has {size(usable)} for it"
    if total > usable:
        rest = f"which is <b>{size(total - usable)}</b> too little"
    else:
        rest = f"which leaves {size(usable - total)} free"
    hint = ": another program may take that" if found == "tight" else ""
    return f'<p class="fit-words {found}" role="status"><b>{words}</b> {takes}, {rest}{hint}.</p>'


def _bar(estimate: Estimate, card: Card) -> str:
    """One bar of all parts, on a scale that holds both the parts and the card, with a mark where the card ends."""
    total, usable, parts = estimate.total_gib, card.usable_gib, _parts(estimate, card)
    scale = max(total, usable)
    drawn = "".join(
        f'<i class="part-{key}" style="width:{value / scale:.2%}" title="{name}: {size(value)}"></i>'
        for key, name, value in parts
    )
    end = usable / scale
    beyond = f'<span class="fit-beyond" style="left:{end:.2%}"></span>' if total > usable else ""
    # The words stand on that side of the mark where there is room for them.
    side, place = ("right", f"right:{1 - end:.2%}") if end > 0.5 else ("left", f"left:{end:.2%}")
    what = "card" if card.is_gpu else "memory"
    told = ", ".join(f"{name} {size(value)}" for _, name, value in parts) + f"; the {what} ends at {size(usable)}"
    return (
        f'<div class="fit-scale"><div class="fit-bar" role="img" aria-label="{told}">'
        f'{drawn}{beyond}</div><span class="fit-end" style="left:{end:.2%}"></span>'
        f'<span class="fit-end-words {side}" style="{place}">{what} ends: {size(usable)}</span></div>'
    )


def _legend(estimate: Estimate, card: Card) -> str:
    """In the order of the bar."""
    entries = "".join(
        f'<li><i class="part-{key}"></i>{name} <b>{size(value)}</b></li>' for key, name, value in _parts(estimate, card)
    )
    return f'<ol class="fit-legend">{entries}</ol>'


def _parts(estimate: Estimate, card: Card) -> list[tuple[str, str, float]]:
    """Key, name and GiB of those that there are, in the order of the bar."""
    names = PARTS if card.is_gpu else PARTS | {"overhead": "program and libraries"}
    return [(key, names[key], estimate.parts[key]) for key in PARTS if estimate.parts.get(key, 0) > 0]


def _changes(estimate: Estimate, card: Card, suggestions: Sequence[Suggestion], to_fit: Sequence[Suggestion]) -> str:
    """What to change; nothing where there is room."""
    found = verdict(estimate, card)
    if found == "fits":
        return ""
    each = [one for one in suggestions if one.saves_gib >= WORTH_SAYING][:MOST_SUGGESTIONS]
    told, missing = "", estimate.total_gib - card.usable_gib
    is_one_enough = found == "tight" or any(one.saves_gib >= missing for one in each)
    if to_fit and not is_one_enough:
        named = "".join(f"<li>{escape(one.words)} <span>saves {size(one.saves_gib)}</span></li>" for one in to_fit)
        press = _apply([setting for one in to_fit for setting in (one.set, *one.also)], "Make it fit")
        told = f"<p>The cheapest way to make it fit, together:</p><ul>{named}</ul><p>{press}</p>"
    elif not is_one_enough:
        told = "<p>No change of these settings makes it fit: take a smaller model, or another card.</p>"
    if each:
        entries = "".join(_change(one, missing) for one in each)
        words = "Or one of these by itself:" if to_fit and told else "What would help, each by itself:"
        told += f"<p>{words}</p><ul>{entries}</ul>"
    return f'<div class="fit-changes">{told}</div>' if told else ""


def _change(one: Suggestion, missing: float) -> str:
    enough = ', <b class="enough">then it fits</b>' if 0 < missing <= one.saves_gib else ""
    return f"<li>{_apply([one.set, *one.also], one.words)} <span>saves {size(one.saves_gib)}{enough}</span></li>"


def _apply(settings: Sequence[str], words: str) -> str:
    """A button that puts settings into the form."""
    asked = escape(json.dumps(settings))
    return f'<button class="plain" data-ask="apply" data-settings="{asked}">{escape(words)}</button>'


def fetch_text(name: str) -> str:
    """Where a model's config.json is not on this machine yet, with a button that fetches it."""
    return (
        notice(f"The config.json of {name} is not on this machine yet; these few kB tell how large the model is.")
        + '<p><button class="plain" data-ask="fetch">Fetch it from Hugging Face</button></p>'
    )


# What was measured


def probing_text(state: Probing) -> str:
    """How a probe, or the search for the largest batch, is going; then what it came to, or why it did not. Before any,
    what it is."""
    if state.doing:
        tried = f'<p class="fit-basis">Tried: {_tries(state.tried)}.</p>' if state.tried else ""
        return f'<p class="busy" role="status">{escape(state.doing)}…</p>{tried}'
    found = found_text(state.found, state.record) if state.found else ""
    measured = probed_text(state.record, not state.note) if state.record else ""
    told = notice(state.error, "error") + found + measured + notice(state.note, "warning")
    return told or f'<p class="fit-basis">{WHAT_A_PROBE_IS}</p>'


def probed_text(record: ProbeRecord, is_kept: bool = True) -> str:
    """What one real step of a model came to, and what that means for the run; only what is kept corrects estimates."""
    batch = record.settings.get(BATCH)
    whole = "How long the whole run takes is known once all rows are checked, or steps are set."
    if record.steps:
        took = duration(record.seconds_per_step * record.steps)
        whole = f"The run of {count(record.steps, 'step')} would take {took} if all rows were that long."
    corrected = " The estimate for this model on this machine is now corrected by it." if is_kept else ""
    return notice(
        f"{record.model[0]}: measured on {'rows' if batch != 1 else 'one row'} of {count(record.length, 'token')}"
        f"{f', {batch:,} at once' if isinstance(batch, int) and batch > 1 else ''}: peak memory {gib(record.peak_gib)} "
        f"(estimated {gib(record.estimate.comparable_gib)}), {pace(record.seconds_per_step)} a step. {whole}"
        f"{corrected}",
        "good",
    )


def found_text(found: BatchFound, record: ProbeRecord) -> str:
    """The largest batch that fits, a button that puts it into the form, and which sizes were tried for it. `record` is
    the probe of that batch."""
    batch, accumulation = found.batch, found.accumulation
    words = (
        f"{record.model[0]}: the largest batch that leaves {found.headroom:.0%} of the memory free is {batch:,}; with accumulation "
        f"{accumulation:,} a step still sees {count(batch * accumulation, 'row')}. Tried: {_tries(found.tried)}."
    )
    if accumulation == 1:
        words += " That is all rows of a step: for a larger batch raise the accumulation first."
    settings = [f"{BATCH}={batch}", f"{ACCUMULATION}={accumulation}"]
    use = _apply(settings, f"Use batch {batch:,} with accumulation {accumulation:,}")
    return f"{notice(words, 'good')}<p>{use}</p>"


def _tries(tried: Tried) -> str:
    came = ((batch, "does not fit" if peak is None else f"takes {gib(peak)}") for batch, peak in tried)
    return ", ".join(f"batch {batch:,} {words}" for batch, words in came)
