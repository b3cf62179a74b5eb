"""Progress bars on standard error, Ctrl-C, and standard output for results alone."""

import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.workbench.workbench import Workbench


@contextmanager
def ctrl_c_calls(stop: Callable[[], None]) -> Iterator[None]:
    """Inside the block Ctrl-C calls `stop` instead of interrupting; the work must then end by itself."""
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error, if that is a terminal. Call it with the share done (0 to 1) and a few words."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Starting", total=1.0)
        yield lambda share, words: progress.update(task, completed=share, description=words)


class stdout_for_results:
    """Keeps standard output for our results: inside the block, what libraries print goes to standard error."""

    def __enter__(self):
        self._stdout, sys.stdout = sys.stdout, sys.stderr
        return self._stdout

    def __exit__(self, *_):
        sys.stdout = self._stdout


def show_progress(workbench: "Workbench", said: Collection[str] = ()) -> bool:
    """Draws the run's progress until it is over, and prints the notes of its receipt, except those in `said`.

    Ctrl-C stops the run cleanly. Returns whether it was pressed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    was_interrupted, has_said = False, False
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Starting", total=None)
        while True:
            try:
                snapshot = workbench.wait(timeout=0.2)
                if snapshot.receipt and not has_said:
                    has_said = True
                    for note in snapshot.receipt.notes:
                        if note not in said:
                            progress.console.print(note, markup=False, highlight=False, soft_wrap=True)
                loss = f"loss {snapshot.steps[-1].loss:.3f}" if snapshot.steps else ""
                words = snapshot.message or loss or "Training"
                done = snapshot.steps[-1].step if snapshot.steps else 0
                progress.update(task, description=words, completed=done, total=snapshot.max_steps or None)
                if snapshot.is_over:
                    return was_interrupted
            except KeyboardInterrupt:
                was_interrupted = True
                while not workbench.stop() and workbench.is_training:
                    time.sleep(0.05)
