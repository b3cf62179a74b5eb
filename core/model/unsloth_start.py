"""Imports Unsloth with its background activities switched off. All other modules import it through here."""

import logging
import os
import sys
import traceback
from contextlib import nullcontext
from functools import cache

from core.memory.container import usable_cores
from core.memory.hardware import unused_card
from core.problems import ModelError, first_line, mark
from core.settings.importing import without_collecting
from core.settings.paths import PROJECT_DIR

NOT_STARTED = mark(
    "Unsloth could not be started: {reason}; start the app again, and if that does not help, delete the folder .venv "
    "and run launch.py, which installs everything again."
)


def import_unsloth():
    """The unsloth package, with its background activities switched off. The first call takes about ten seconds.

    Raises ModelError, each time anew, when it cannot be imported.
    """
    try:
        with nullcontext() if "unsloth" in sys.modules else without_collecting():
            return _imported()
    except (Exception, SystemExit) as error:  # also a library that wants to end the program
        traceback.print_exc()
        raise ModelError(NOT_STARTED, reason=first_line(error)) from error


def _imported():
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # no request to the network
    os.environ.setdefault("UNSLOTH_AUTO_INSTALL", "0")  # no installing of llama.cpp
    os.environ.setdefault("UNSLOTH_DATASET_NUM_PROC", "0")  # no forks while a thread trains
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(PROJECT_DIR / "unsloth_compiled_cache"))
    # Threads that wait for each other spin briefly, then sleep. By default they spin for a long time: while another
    # program is busy, a step of a small model then takes ten times as long. Sleeping at once makes it half as long
    # again.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    import torch

    threads = usable_cores()
    if threads < torch.get_num_threads() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)  # torch counts the cores of the whole machine, also in a container with fewer
    _warn_of_unused_card()
    # On some processors it warns that it could be faster with code from Hugging Face, which is not used here.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    if not torch.cuda.is_available():
        os.environ.setdefault("UNSLOTH_FORCE_CPU", "1")  # with a driver but no usable card the import would fail
    import unsloth  # isort: skip  first, because it patches the libraries below
    import datasets
    import transformers

    # Their progress bars would overwrite ours.
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    return unsloth


@cache
def _warn_of_unused_card() -> None:
    """Says once in the terminal that a card is not used; the page shows it beside the machine."""
    if sentence := unused_card():
        print(sentence, file=sys.stderr, flush=True)


def start_unsloth() -> None:
    """Import Unsloth ahead of time, so that the first load does not wait for it."""
    import_unsloth()
