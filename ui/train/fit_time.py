"""How long the run takes on a card, where that is known: measured here, published, or at the least."""

from pathlib import Path

from core.data.prepared.survey import Survey
from core.memory.cards import Card
from core.memory.hardware import Machine
from core.memory.model_shape import ModelShape
from core.memory.probe_log import exact_probe
from core.memory.run_time import Published, least_seconds, operations_per_second, published_for
from core.settings.run_config import RunConfig
from core.settings.steps import steps_of
from ui.shared.formatting import count, duration, pace
from ui.train.fit_view import THIS_MACHINE, whole_name

WORTH_SAYING = 600  # seconds; what takes less is quicker measured than said
PROBE = "How long it takes here is not known: probe one step to measure it."


def time_text(
    config: RunConfig, shape: ModelShape, card: Card, rows: Survey | None, runs_dir: Path, machine: Machine
) -> str:
    """A sentence or two. `rows` are the figures of all rows, if they were checked with these settings."""
    steps = steps_of(config, rows.train_rows if rows else None)
    if card.name != THIS_MACHINE:
        found = published_for(card.name, shape)
        return _published(config, found, steps, rows) if found else _unknown(card)
    if probe := exact_probe(runs_dir, machine, config, rows.longest if rows else None):
        if not steps:
            return f"By a probe on this machine a step takes {pace(probe.seconds_per_step)} on rows of full length."
        took = duration(probe.seconds_per_step * steps)
        return f"By a probe on this machine the {count(steps, 'step')} take {took} if all rows have the full length."
    if machine.is_gpu or not steps:
        return PROBE
    length = _length(config, rows)
    least = least_seconds(
        config, shape, round(steps * config.training.effective_batch * length), operations_per_second()
    )
    if least < WORTH_SAYING:
        return PROBE
    return (
        f"Without a graphics card the {count(steps, 'step')} take {duration(least)} or more with rows of "
        f"{count(round(length), 'token')}: that is what the arithmetic alone takes on this processor."
    )


def _unknown(card: Card) -> str:
    return f"How long the run takes on {whole_name(card)} is not known: no time was published for such a model on it."


def _published(config: RunConfig, found: Published, steps: int, rows: Survey | None) -> str:
    if found.tokens_per_second:
        figure = f"{found.tokens_per_second:,.0f} tokens per second"
    else:
        figure = f"{pace(found.seconds)} for a step of {found.rows} rows"
    said = f"Published for this card: {figure} ({found.of}; {found.source})."
    if not steps:
        return said
    read = steps * config.training.effective_batch
    took = duration(found.seconds_of(read, round(read * _length(config, rows))))
    return f"{said} At that pace this run of {count(steps, 'step')} takes about {took}; yours may differ."


def _length(config: RunConfig, rows: Survey | None) -> float:
    """Tokens in a row: the mean of the rows, or the maximum while they are not known."""
    return rows.tokens / max(rows.used, 1) if rows else config.model.max_seq_length
