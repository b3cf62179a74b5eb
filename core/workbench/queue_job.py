"""Works off the queue (`core.runs.queue_file`), one run after the other.

A run that ends completed or failed leaves the queue, and the next one begins. A run that was stopped, or whose program
died, stays in it and is resumed first; after a stop the queue is paused until a person lets it go on.

Several programs may do this in one folder, such as the page and `app.py queue run`. An entry is begun while the file is
locked, and only while no run in the folder is in progress in any living program: so none begins twice, and no two runs
share the graphics card.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from core.hub_names import Token
from core.problems import Busy, DataError, Problem, RunError, tr
from core.runs.queue_file import Entry, Queue, QueueFile, is_in_progress
from core.runs.run_folder import Run
from core.runs.run_list import RunList
from core.settings.run_config import RunConfig
from core.workbench.queue_times import QueueTimes

LOOK_SECONDS = 1.0
OVER = ("completed", "failed")  # a run that ended so is not resumed by the queue
STANDARD_ERROR = 2  # what a command prints is no result of ours


class QueueJob:
    """`training` is the `core.workbench.training_job.TrainingJob` that runs begin on, `preparation` reads their rows.

    `when_empty` is a command for the shell that is run each time the last run of the queue has ended. Only whoever
    starts the program gives it, on the command line: nothing that a page sends may ever set it.
    """

    def __init__(self, runs: RunList, training, preparation):
        self.file, self.times = QueueFile(runs.runs_dir), QueueTimes(runs)
        self.when_empty = ""
        self.trouble = ""  # why the queue does not go on, as a sentence
        self.gives_way: Callable[[], bool] = lambda: False  # to a recipe, which goes on after each of its steps
        self._runs, self._training, self._preparation = runs, training, preparation
        self._tokens: dict[str, Token] = {}  # by entry; never written
        self._begun: dict[str, str] = {}  # entries of this program, and their runs
        self._looking = threading.Lock()
        self._wake, self._is_closed = threading.Event(), False

    def read(self) -> Queue:
        """Raises RunError if the file cannot be read."""
        return self.file.read()

    def add(
        self, runs: Sequence[tuple[str, RunConfig]], preset: str = "", token: Token = None, group: str = ""
    ) -> list[Entry]:
        """Adds runs, each with its name, which may be empty. The token is only kept in memory.

        Raises RunError, and DataError if the first rows of one of them cannot be trained on.
        """
        for data in {config.data.model_dump_json(): config for _, config in runs}.values():
            if trouble := self._preparation.look(data, None, token).trouble:
                raise DataError(trouble)
        added = self.file.add(runs, preset, group)
        if token:
            self._tokens |= dict.fromkeys((entry.id for entry in added), token)
        self._wake.set()
        return added

    def go_on(self) -> None:
        """Ends a pause. Raises RunError."""
        self.file.pause(False)
        self._wake.set()

    def hold(self) -> None:
        """After a person has stopped a run: what waits, waits for them too."""
        with suppress(RunError):  # the page says why the queue cannot be read
            if self.file.read().entries:
                self.file.pause(True)

    # The work

    def work(self) -> None:
        """Works off the queue in the background until `close`."""

        def keep_looking() -> None:
            while not self._is_closed:
                self._wake.clear()
                try:
                    self.look()
                    self.trouble = ""
                except Problem as problem:  # such as a full disk: the next look tries again
                    self.trouble = str(problem)
                self._wake.wait(LOOK_SECONDS)

        threading.Thread(target=keep_looking, name="queue", daemon=True).start()

    def close(self) -> None:
        """Begins no more runs. What stops from now on is resumed first when the queue goes on."""
        self._is_closed = True
        self._wake.set()

    def look(self) -> Run | None:
        """Takes out what has ended, and begins what is next, if it can begin now; returns that run. Raises RunError."""
        with self._looking:
            if self._is_closed:
                return None
            self._training.write_the_end()
            if self._settle():
                self._run_command()
            return None if self.gives_way() else self._begin_next()

    def _settle(self) -> bool:
        """Takes out what has ended; whether that was the last run that the queue can begin."""
        if not any(entry.run_id or entry.id in self._begun for entry in self.file.read().entries):
            return False
        number = 0

        def settled(queue: Queue) -> Queue:
            nonlocal number
            rows = {row.id: row for row in self._runs.rows(fresh=True)}
            entries, ended, is_paused = [], [], queue.is_paused
            for entry in queue.entries:
                run_id = entry.run_id or self._begun.get(entry.id, "")  # a full disk may have kept it from being saved
                row = rows.get(run_id)
                if run_id and row is None and not os.path.lexists(self._runs.runs_dir / run_id):
                    continue  # a person has deleted the run
                if row is not None and not row.is_going_on and row.status in OVER:
                    ended.append(run_id)
                    continue
                entries.append(replace(entry, run_id=run_id))
                if row is not None and row.status == "stopped" and self._begun.pop(entry.id, ""):
                    is_paused = True  # a person has stopped it here
            number = len(ended)
            return Queue(tuple(entries), is_paused, (*queue.ended, *ended))

        after = self.file.change(settled)
        return number > 0 and after.next is None

    def _begin_next(self) -> Run | None:
        begun: Run | None = None

        def begin(queue: Queue) -> Queue:
            nonlocal begun
            entry = queue.next
            if queue.is_paused or entry is None or any(row.is_going_on for row in self._runs.rows(fresh=True)):
                return queue
            others = tuple(other for other in queue.entries if other is not entry)
            try:
                begun = self._begin(entry)
            except Busy:  # the model is in use
                return queue
            except RunError:
                if entry.run_id and is_in_progress(self._runs.runs_dir / entry.run_id):
                    return queue  # another program was faster
                if not entry.run_id:  # such as a full disk: no other run could begin either
                    raise
                return replace(queue, entries=others, ended=(*queue.ended, entry.run_id))  # it cannot be resumed
            self._begun[entry.id] = begun.id
            return replace(queue, entries=(replace(entry, run_id=begun.id), *others))

        if self.file.read().next is not None:
            self.file.change(begin)
        return begun

    def _begin(self, entry: Entry) -> Run:
        token = self._tokens.get(entry.id)
        if entry.run_id:
            return self._training.resume(entry.run_id, token)
        run = self._training.start(entry.config, entry.name, token, None, entry.preset)
        if entry.group:
            with suppress(OSError):  # a full disk: the run is in no group
                run.write_about(group=entry.group)
        return run

    def _run_command(self) -> None:
        """The next run waits until the command has ended."""
        if not self.when_empty:
            return
        done = subprocess.run(self.when_empty, shell=True, stdin=subprocess.DEVNULL, stdout=STANDARD_ERROR)
        if done.returncode:
            said = tr("The command for the empty queue ended with exit code {code}.", code=done.returncode)
            print(said, file=sys.stderr)
