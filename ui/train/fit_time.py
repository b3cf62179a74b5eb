"""How long the run takes on a card, where that is known: measured here, published, or at the least."""

from pathlib import Path

from core.data.prepared.survey import Survey
from core.memory.cards import Card
from core.memory.hardware import Machine
from core.memory.model_shape import ModelShape
from core.memory.probe_log import exact_probe
from core.memory.run_time import Published, least_seconds, operations_per_second, published_for
from core.problems import mark, tr, trn
from core.settings.run_config import RunConfig
from core.settings.steps import steps_of
from ui.shared.formatting import duration, pace
from ui.train.fit_view import THIS_MACHINE, whole_name

WORTH_SAYING = 600  # seconds; what takes less is quicker measured than said
PROBE = mark("How long it takes here is not known: probe one step to measure it.")


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
            took = pace(probe.seconds_per_step)
            return tr("By a probe on this machine a step takes {took} on rows of full length.", took=took)
        return trn(
            "By a probe on this machine the {count:,} step takes {took} if all rows have the full length.",
            "By a probe on this machine the {count:,} steps take {took} if all rows have the full length.",
            steps,
            took=duration(probe.seconds_per_step * steps),
        )
    if machine.is_gpu or not steps:
        return tr(PROBE)
    length = _length(config, rows)
    least = least_seconds(
        config, shape, round(steps * config.training.effective_batch * length), operations_per_second()
    )
    if least < WORTH_SAYING:
        return tr(PROBE)
    return trn(
        "Without a graphics card the {count:,} step takes {took} or more with rows of {tokens}: that is what the "
        "arithmetic alone takes on this processor.",
        "Without a graphics card the {count:,} steps take {took} or more with rows of {tokens}: that is what the "
        "arithmetic alone takes on this processor.",
        steps,
        took=duration(least),
        tokens=trn("{count:,} token", "{count:,} tokens", round(length)),
    )


def _unknown(card: Card) -> str:
    return tr(
        "How long the run takes on {card} is not known: no time was published for such a model on it.",
        card=whole_name(card),
    )


def _published(config: RunConfig, found: Published, steps: int, rows: Survey | None) -> str:
    about = {"of": tr(found.of), "source": tr(found.source)}
    if found.tokens_per_second:
        said = tr(
            "Published for this card: {speed:,.0f} tokens per second ({of}; {source}).",
            speed=found.tokens_per_second,
            **about,
        )
    else:
        said = tr(
            "Published for this card: {took} for a step of {rows} rows ({of}; {source}).",
            took=pace(found.seconds),
            rows=found.rows,
            **about,
        )
    if not steps:
        return said
    read = steps * config.training.effective_batch
    took = duration(found.seconds_of(read, round(read * _length(config, rows))))
    here = trn(
        "At that pace this run of {count:,} step takes about {took}; yours may differ.",
        "At that pace this run of {count:,} steps takes about {took}; yours may differ.",
        steps,
        took=took,
    )
    return f"{said} {here}"


def _length(config: RunConfig, rows: Survey | None) -> float:
    """Tokens in a row: the mean of the rows, or the maximum while they are not known."""
    return rows.tokens / max(rows.used, 1) if rows else config.model.max_seq_length
