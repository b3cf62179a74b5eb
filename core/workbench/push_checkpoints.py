"""Pushes the checkpoints of a run to Hugging Face while it trains, and its adapter at the end.

A thread of its own exports and uploads. If that takes longer than the next checkpoint, only the newest one waits. The
run goes on whatever the network does: what cannot be pushed becomes a warning, and the next checkpoint is tried again.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from core.export.adapter_folder import write_adapter_folder
from core.export.card import write_card
from core.export.find_source import find_source
from core.export.hub import Repository, push_folder, token_for_pushing
from core.hub_names import Token
from core.problems import ExportError, Problem, mark, tr
from core.runs.events import AdapterPushed, CheckpointSaved, Event
from core.runs.run_folder import Run
from core.settings.run_config import RunConfig
from core.threads import ShouldStop
from core.training.work_reporter import WorkReporter
from core.workbench.background_job import attempt

Emit = Callable[[Event], None]
SECONDS_AT_THE_END = 600.0
SECONDS_BETWEEN_LOOKS = 0.2
NOT_IN_TIME = mark("The adapter did not reach {name} within {minutes:.0f} minutes; push it with `python app.py push`.")
STOPPED = mark("You stopped pushing the adapter to {name}; push it with `python app.py push`.")
FAILED = mark("Pushing to {name} failed ({reason}); push the run with `python app.py push`.")
SECONDS_TO_END = 5.0
FINAL = -1  # in place of a step: the adapter at the end


def check_pushing(config: RunConfig, token: Token) -> None:
    """Raises ConfigError or ExportError if this run's checkpoints are to be pushed and the name or the token is bad."""
    if config.training.hub_model_id:
        Repository(config.training.hub_model_id).check()
        token_for_pushing(token)


def perform_and_push(
    run: Run,
    config: RunConfig,
    token: Token,
    emit: Emit,
    should_stop: ShouldStop,
    perform: Callable[[Emit], tuple[str, str]],
) -> tuple[str, str]:
    """Calls `perform`, which trains, with an `emit` for its events, and pushes what it saves if the settings say so.

    When it has completed, waits until its adapter is pushed, for SECONDS_AT_THE_END at most. Emits AdapterPushed.
    Returns what `perform` returns.
    """
    if not config.training.hub_model_id:
        return perform(emit)
    to = Repository(config.training.hub_model_id, is_private=config.training.hub_private_repo)
    pusher = _Pusher(run, to, token, emit, should_stop)
    try:
        status, message = perform(pusher.emit)
        if status == "completed":
            pusher.finish()
    finally:
        pusher.close()
    return status, message


class _Pusher:
    def __init__(self, run: Run, to: Repository, token: Token, emit: Emit, should_stop: ShouldStop):
        self._run, self._to, self._token = run, to, token
        self._emit, self._should_stop = emit, should_stop
        self._changed = threading.Condition()
        self._waiting: int | None = None  # the step to push next
        self._is_closed = self._is_done = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._work, name="pushing", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Passes on an event of the run, and pushes the checkpoint that it is about."""
        self._emit(event)
        if isinstance(event, CheckpointSaved):
            self._push_next(event.step)

    def finish(self) -> None:
        """Pushes the adapter, after what is being pushed now, and waits for it."""
        WorkReporter(self._emit).show(tr("Pushing the adapter to {name}", name=self._to.name))
        self._push_next(FINAL)
        until = time.monotonic() + SECONDS_AT_THE_END
        with self._changed:
            while not self._is_done and not self._should_stop() and time.monotonic() < until:
                self._changed.wait(SECONDS_BETWEEN_LOOKS)
            if self._should_stop():
                self._tell(trouble=tr(STOPPED, name=self._to.name))
            elif not self._is_done:
                self._tell(trouble=tr(NOT_IN_TIME, name=self._to.name, minutes=SECONDS_AT_THE_END / 60))

    def close(self) -> None:
        """Ends what is under way. No event is emitted any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(SECONDS_TO_END)  # longer only where the base model is looked for on a slow network

    def _push_next(self, step: int) -> None:
        with self._changed:
            self._waiting = step
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._waiting is not None)
                if self._is_closed:
                    return
                step, self._waiting = self._waiting, None
            self._push(step)
            with self._changed:
                self._is_done = step == FINAL
                self._changed.notify_all()

    def _push(self, step: int) -> None:
        outcome = attempt(lambda: self._export_and_push(None if step == FINAL else step), self._failed, self._token)
        with self._changed:
            if outcome.result:
                self._tell(step=None if step == FINAL else step, url=outcome.result)
            elif outcome.problem is not None and self._waiting is None:  # else a newer one is tried at once
                self._tell(trouble=str(outcome.problem))

    def _export_and_push(self, step: int | None) -> str:
        """Returns the address."""
        with TemporaryDirectory(prefix="hearthtune-", ignore_cleanup_errors=True) as folder:
            source = find_source(self._run.folder.parent, str(self._run.folder), step, token=self._token)
            write_adapter_folder(Path(folder), source)
            write_card(Path(folder), source, "adapter")
            message = "The trained adapter" if step is None else f"Checkpoint at step {step:,}"
            message = f"{message} of {self._run.name}"
            return push_folder(Path(folder), self._to, message, self._token, should_stop=self._must_end).url

    def _tell(self, step: int | None = None, url: str = "", trouble: str = "") -> None:
        """Emits how a push went, but not the same trouble twice."""
        if not self._is_closed and not (trouble and trouble == self._trouble):
            self._trouble = trouble
            self._emit(AdapterPushed(step=step, url=url, trouble=trouble))

    def _must_end(self) -> bool:
        return self._is_closed or self._should_stop()

    def _failed(self, reason: str) -> Problem:
        return ExportError(FAILED, name=self._to.name, reason=reason)
