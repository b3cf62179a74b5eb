"""Whether a run fits on a card, in words and as one bar; and what a probe measured.

A button says what it asks for, as in `ui.runs.runs_table`: `data-ask="apply"` with settings, or `data-ask="fetch"`.
"""

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from core.memory.cards import OF_A_SIZE, Card
from core.memory.estimate import verdict
from core.memory.largest import Largest
from core.memory.parts import PARTS, Estimate, part_names
from core.memory.probe_record import ProbeRecord
from core.memory.suggestions import WORTH_SAYING, Suggestion
from core.problems import mark, tr, trn
from core.training.largest_batch import BatchFound, Tried
from core.workbench.probe_job import Probing
from ui.shared.formatting import duration, gib, notice, pace, size
from ui.shared.html import render_part

TEMPLATE = "train/fit.html"
THIS_MACHINE = mark("this machine")  # as a card's name
MOST_SUGGESTIONS = 5
VERDICT_WORDS = {"fits": mark("Fits."), "tight": mark("Tight."), "no": mark("Does not fit.")}
# At the mark of the bar, and in its name for screen readers.
CARD_LIMIT, BAR_OF_A_CARD = mark("card limit: {size}"), mark("{parts}; card limit {size}")
MEMORY_LIMIT, BAR_OF_MEMORY = mark("memory limit: {size}"), mark("{parts}; memory limit {size}")
MEASURED = mark("{model}: measured on rows of {tokens}: peak memory {peak} (estimated {estimated}), {pace} per step.")
MEASURED_ONE_ROW = mark(
    "{model}: measured on one row of {tokens}: peak memory {peak} (estimated {estimated}), {pace} per step."
)
MEASURED_AT_ONCE = mark(
    "{model}: measured on rows of {tokens}, {batch:,} at once: peak memory {peak} (estimated {estimated}), {pace} per "
    "step."
)
BATCH, ACCUMULATION = "training.per_device_train_batch_size", "training.gradient_accumulation_steps"


def fit_text(
    estimate: Estimate,
    card: Card,
    suggestions: Sequence[Suggestion] = (),
    to_fit: Sequence[Suggestion] = (),
    basis: Sequence[str] = (),
    warning: str = "",
    most: Largest | None = None,
    time: str = "",
) -> Markup:
    """The verdict in words, the bar with its legend, and what would help where there is little room.

    `suggestions` are each by itself, `to_fit` one on top of the other; `basis` are sentences on what the figures are
    based on, `warning` is one about these settings, `time` one on how long the run takes. `most` is what fits.
    """
    return render_part(
        TEMPLATE,
        "fit",
        verdict=_verdict(estimate, card),
        bar=_bar(estimate, card),
        basis=" ".join(filter(None, basis)),
        warning=warning,
        changes=_changes(estimate, card, suggestions, to_fit),
        most=_most(most) if most else [],
        time=time,
    )


def _most(most: Largest) -> list[dict[str, str]]:
    """A button for the longest rows that fit and one for the largest batch."""
    found = []
    if most.length:
        if most.length_is_whole:
            words = tr("Maximum length {length:,}, all that the model can read", length=most.length)
        else:
            words = tr("Maximum length {length:,}", length=most.length)
        found.append({"words": words, "settings": json.dumps([f"model.max_seq_length={most.length}"])})
    if most.batch:
        words = tr("Batch size {batch:,}", batch=most.batch)
        found.append({"words": words, "settings": json.dumps([f"{BATCH}={most.batch}"])})
    return found


def _verdict(estimate: Estimate, card: Card) -> dict[str, str]:
    """Fits, tight or not, and by how much: what is missing, or what is free."""
    total, usable, kind = estimate.total_gib, card.usable_gib, verdict(estimate, card)
    return {
        "kind": kind,
        "word": tr(VERDICT_WORDS[kind]),
        "takes": size(total),
        "card": whole_name(card),
        "has": size(usable),
        "missing": size(max(total - usable, 0)),
        "free": size(max(usable - total, 0)),
    }


def whole_name(card: Card) -> str:
    """The card within a sentence: the RTX 3060 12GB, a card of 10GB, this machine."""
    if card.name == THIS_MACHINE:
        return tr(THIS_MACHINE)
    if card.name.startswith(OF_A_SIZE):
        return tr("a card of {memory:g}GB", memory=card.memory_gib)
    return tr("the {card}", card=card.name)


def _bar(estimate: Estimate, card: Card) -> dict[str, Any]:
    """All parts in one bar, on a scale with room for both the parts and the card, and a mark where the card ends."""
    total, usable = estimate.total_gib, card.usable_gib
    scale = max(total, usable)
    end = usable / scale
    names = part_names(card.is_gpu)
    parts = [
        {"key": key, "name": tr(names[key]), "size": size(value), "width": f"{value / scale:.2%}"}
        for key in PARTS
        if (value := estimate.parts.get(key, 0)) > 0
    ]
    limit, words = (CARD_LIMIT, BAR_OF_A_CARD) if card.is_gpu else (MEMORY_LIMIT, BAR_OF_MEMORY)
    listed = ", ".join(f"{part['name']} {part['size']}" for part in parts)
    # The words are on that side of the mark where there is room for them.
    side, place = ("right", f"{1 - end:.2%}") if end > 0.5 else ("left", f"{end:.2%}")
    return {
        "parts": parts,
        "is_over": total > usable,
        "end": f"{end:.2%}",
        "end_words": {"side": side, "place": place, "text": tr(limit, size=size(usable))},
        "words": tr(words, parts=listed, size=size(usable)),
    }


def _changes(
    estimate: Estimate, card: Card, suggestions: Sequence[Suggestion], to_fit: Sequence[Suggestion]
) -> dict[str, Any] | None:
    """What to change; None where there is room, or nothing to say."""
    found = verdict(estimate, card)
    if found == "fits":
        return None
    each = [one for one in suggestions if one.saves_gib >= WORTH_SAYING][:MOST_SUGGESTIONS]
    missing = estimate.total_gib - card.usable_gib
    is_one_enough = found == "tight" or any(one.saves_gib >= missing for one in each)
    if is_one_enough and not each:
        return None
    together = [] if is_one_enough else to_fit
    return {
        "together": [{"words": one.words, "saves": size(one.saves_gib)} for one in together],
        "settings": json.dumps([setting for one in together for setting in (one.set, *one.also)]),
        "is_hopeless": not is_one_enough,
        "each": [
            {
                "words": one.words,
                "settings": json.dumps([one.set, *one.also]),
                "saves": size(one.saves_gib),
                "is_enough": 0 < missing <= one.saves_gib,
            }
            for one in each
        ],
    }


def fetch_text(name: str) -> Markup:
    """Shown when a model's config.json is not on this machine yet, with a button that fetches it."""
    message = tr(
        "The config.json of {model} is not on this machine yet; the estimate needs it. It is only a few kB.", model=name
    )
    return render_part(TEMPLATE, "fetch", message=message)


# What was measured


def probing_text(state: Probing, of_others: ProbeRecord | None = None) -> Markup:
    """How a probe, or the search for the largest batch, is going; then its result, or why it has none. Before any,
    what a probe is. `of_others` is what was measured last, if that was with other settings."""
    if state.doing:
        tried = tr("Tried: {tries}.", tries=_tries(state.tried)) if state.tried else ""
        return render_part(TEMPLATE, "doing", words=state.doing, tried=tried)
    found = found_text(state.found, state.record) if state.found else Markup()
    measured = probed_text(state.record, not state.note) if state.record else Markup()
    result = notice(state.error, "error") + found + measured + notice(state.note, "warning")
    if of_others and not result:
        said = tr(
            "The last probe was for other settings: {model}, {memory} on rows of {tokens}.",
            model=of_others.model[0],
            memory=gib(of_others.peak_gib),
            tokens=_tokens(of_others),
        )
        return notice(said) + render_part(TEMPLATE, "what_a_probe_is")
    return result or render_part(TEMPLATE, "what_a_probe_is")


def probed_text(record: ProbeRecord, is_kept: bool = True) -> Markup:
    """The result of a probe, and what it means for the run; only a record that is kept corrects estimates."""
    batch = record.settings.get(BATCH)
    is_many = isinstance(batch, int) and batch > 1
    measured = tr(
        MEASURED_ONE_ROW if batch == 1 else MEASURED_AT_ONCE if is_many else MEASURED,
        model=record.model[0],
        tokens=_tokens(record),
        batch=batch,
        peak=gib(record.peak_gib),
        estimated=gib(record.estimate.comparable_gib),
        pace=pace(record.seconds_per_step),
    )
    sentences = [measured]
    if record.steps:
        run = trn(
            "The run of {count:,} step would take {took} if all rows were that long.",
            "The run of {count:,} steps would take {took} if all rows were that long.",
            record.steps,
            took=duration(record.seconds_per_step * record.steps),
        )
        sentences.append(run)
    else:
        sentences.append(tr("To see how long the whole run takes, check all rows or set the number of steps."))
    if is_kept:
        sentences.append(tr("Estimates for this model on this machine are now corrected by it."))
    return notice(" ".join(sentences), "good")


def _tokens(record: ProbeRecord) -> str:
    return trn("{count:,} token", "{count:,} tokens", record.length)


def found_text(found: BatchFound, record: ProbeRecord) -> Markup:
    """The largest batch that fits, a button that puts it into the form, and which sizes were tried. `record` is the
    probe of that batch."""
    batch, accumulation = found.batch, found.accumulation
    message = trn(
        "{model}: the largest batch that leaves {headroom:.0%} of the memory free is {batch:,}; with accumulation "
        "{accumulation:,} a step still sees {count:,} row. Tried: {tries}.",
        "{model}: the largest batch that leaves {headroom:.0%} of the memory free is {batch:,}; with accumulation "
        "{accumulation:,} a step still sees {count:,} rows. Tried: {tries}.",
        batch * accumulation,
        model=record.model[0],
        headroom=found.headroom,
        batch=batch,
        accumulation=accumulation,
        tries=_tries(found.tried),
    )
    if accumulation == 1:
        message += " " + tr("That is all rows of a step: for a larger batch, raise Accumulation first.")
    return render_part(
        TEMPLATE,
        "found",
        message=message,
        settings=json.dumps([f"{BATCH}={batch}", f"{ACCUMULATION}={accumulation}"]),
        words=tr("Use batch {batch:,} with accumulation {accumulation:,}", batch=batch, accumulation=accumulation),
    )


def _tries(tried: Tried) -> str:
    return ", ".join(
        tr("batch {batch:,} does not fit", batch=batch)
        if peak is None
        else tr("batch {batch:,} takes {memory}", batch=batch, memory=gib(peak))
        for batch, peak in tried
    )
