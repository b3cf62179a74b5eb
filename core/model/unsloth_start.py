"""Imports Unsloth with its background activities switched off. Everything else imports it through here."""

import os

from core.settings.paths import PROJECT_DIR


def import_unsloth():
    """The unsloth package, with its background activities switched off. The first call takes about ten seconds."""
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # no probe of the network at start-up
    os.environ.setdefault("UNSLOTH_AUTO_INSTALL", "0")  # no llama.cpp installed unasked
    os.environ.setdefault("UNSLOTH_DATASET_NUM_PROC", "0")  # no forks beside a training thread
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(PROJECT_DIR / "unsloth_compiled_cache"))
    # Threads that wait for each other spin briefly, then sleep. By default they spin for long, and beside any other
    # busy program a step of a small model then takes ten times as long; sleeping at once costs half as much again.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("UNSLOTH_FORCE_CPU", "1")  # a driver without a usable card makes the import raise
    import unsloth  # isort: skip  first, because it patches the others
    import datasets
    import transformers

    # Their progress bars would be drawn over ours.
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    return unsloth


def start_unsloth() -> None:
    """Import Unsloth ahead of time, so that the first load does not wait for it."""
    import_unsloth()
