"""Progress bars on standard error, Ctrl-C, and standard output for results alone."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from core.model.download import Report
from core.runs.snapshot import Snapshot
from core.threads import ShouldStop
from ui.shared.formatting import duration
from ui.train.run_state_text import activity

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
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Starting", total=1.0, left="")

        def show(share: float, words: str) -> None:
            progress.update(task, completed=share, description=words)
            left = progress.tasks[0].time_remaining
            progress.update(task, left=f"{duration(left)} left" if left else "")

        yield show


@contextmanager
def reported_until_ctrl_c() -> Iterator[tuple[Report, ShouldStop]]:
    """A progress bar as a Report, and whether Ctrl-C was pressed: for work that ends by raising Stopped."""
    pressed = threading.Event()
    with ctrl_c_calls(pressed.set), progress_bar() as show:
        yield lambda words, share: show(share or 0.0, words), pressed.is_set


class stdout_for_results:
    """Keeps standard output for our results: inside the block, what libraries print goes to standard error."""

    def __enter__(self):
        self._stdout, sys.stdout = sys.stdout, sys.stderr
        return self._stdout

    def __exit__(self, *_):
        sys.stdout = self._stdout


def show_progress(
    workbench: "Workbench", said: Collection[str] = (), on_stop: Callable[[], None] = lambda: None
) -> bool:
    """Draws the run's progress until it is over, and prints the notes of its receipt, except those in `said`.

    Ctrl-C calls `on_stop` and stops the run cleanly. Returns whether it was pressed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[time]}"))
    was_interrupted, has_said = False, False
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Starting", total=None, time="")
        while True:
            try:
                snapshot = workbench.wait(timeout=0.2)
                if snapshot.receipt and not has_said:
                    has_said = True
                    for note in snapshot.receipt.notes:
                        if note not in said:
                            progress.console.print(note, markup=False, highlight=False, soft_wrap=True)
                progress.update(task, **bar_of(snapshot))
                if snapshot.is_over:
                    return was_interrupted
            except KeyboardInterrupt:
                was_interrupted = True
                on_stop()
                while not workbench.stop() and workbench.is_training:
                    time.sleep(0.05)


def bar_of(snapshot: Snapshot) -> dict[str, Any]:
    """What the bar of a run shows: its steps, or how far the work is that it does between them and after the last."""
    loss = f"loss {snapshot.steps[-1].loss:.3f}" if snapshot.steps else ""
    seconds, left = snapshot.seconds, snapshot.seconds_left
    times = (f"{duration(seconds)} of training" if seconds else "", f"{duration(left)} left" if left else "")
    shown = {"completed": snapshot.step, "total": snapshot.max_steps or None, "time": ", ".join(filter(None, times))}
    work = snapshot.working
    if work and work.total:
        shown |= {"completed": work.done, "total": work.total}
        doing = f"Stopping. {work.words}" if snapshot.status == "stopping" else work.words
    else:
        doing = activity(snapshot)
    return shown | {"description": doing or snapshot.message or loss or "Training"}
