"""The commands that train a run's script: on this machine, on several cards, and as a job on Hugging Face."""

from math import ceil
from pathlib import Path

from core.memory.cards import CARDS
from core.memory.estimate import estimate, verdict
from core.memory.model_shape import shape_of
from core.problems import ModelError, tr
from core.runs.run_folder import Run
from core.settings.paths import resolve_path

# `hf jobs uv run --help` lists the flavors; each is named with its card in CARDS, the smallest first.
FLAVORS = {
    "t4-small": "Tesla T4 16GB",
    "l4x1": "L4 24GB",
    "l40sx1": "L40S 48GB",
    "a100-large": "A100 80GB",
    "rtx-pro-6000": "RTX PRO 6000 96GB",
}
LARGEST = "h200"  # 141 GB
SLOWER, FEWEST_HOURS = 3, 1  # the job downloads the model first, and its card may be slower than this one


def commands(run: Run, folder: Path) -> list[tuple[str, str]]:
    """(what it is for, the command) for the script in `folder`."""
    script = f'"{folder / "train.py"}"' if " " in str(folder) else str(folder / "train.py")
    return [
        (tr("On this machine, or on one like it; uv installs what it needs:"), f"uv run {script}"),
        (tr("On two graphics cards of this machine:"), f"torchrun --nproc_per_node 2 {script}"),
        (tr("The same with Accelerate:"), f"accelerate launch --num_processes 2 {script}"),
        (tr("As a job on Hugging Face, which leaves the adapter in a bucket of yours:"), _job(run, folder, script)),
    ]


def _job(run: Run, folder: Path, script: str) -> str:
    base = resolve_path(run.config().model.model_name)
    mounted = [f'-v "{folder}:/work:rw"', *([f'-v "{base}:/base"'] if base else [])]
    given = ["--rows /work/rows.parquet", "--out /work/adapter", *(["--base /base"] if base else [])]
    options = [f"--flavor {flavor(run)}", f"--timeout {hours(run)}h", "--secrets HF_TOKEN", *mounted]
    return " ".join(["hf jobs uv run", *options, script, *given])


def flavor(run: Run) -> str:
    """The smallest machine whose card has room for the run, by the estimate of its memory; the largest if that is not
    known."""
    config = run.config()
    try:
        shape = shape_of(config.model, fetch=False)
    except ModelError:
        return LARGEST
    cards = {card.name: card for card in CARDS}
    for name, card in FLAVORS.items():
        if verdict(estimate(config, shape, cards[card]), cards[card]) == "fits":
            return name
    return LARGEST


def hours(run: Run) -> int:
    """A time limit in hours that the run should not reach, by the time it took here."""
    finished = run.snapshot().finished
    return max(FEWEST_HOURS, ceil(SLOWER * finished.runtime_s / 3600)) if finished else 24
