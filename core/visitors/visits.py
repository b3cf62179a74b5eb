"""What all visitors of a page share: whose turn it is, whose the model and the runs are, the queue, and tidying up."""

import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.problems import BlindError, Busy, RunError, mark, tr
from core.runs.run_folder import Run, made_at
from core.runs.snapshot import Snapshot
from core.runs.uploads import sweep_uploads
from core.visitors.hub_access import HubAccess
from core.visitors.limits import RateLimit
from core.visitors.policy import Policy
from core.visitors.run_queue import RunQueue, Waiting
from core.visitors.uploads import Uploads
from core.visitors.visit import Visit
from core.workbench.desk import Desk

LOOK_SECONDS = 60  # between two looks for what is too old
DAY = 86400
BEGINNING = mark("a run begins")


class Visits:
    """`bench` is the `core.workbench.workbench.Workbench` of the whole program; `policy` what its visitors may do.

    Visitors are named by texts that nobody can guess, and that are kept with their runs.
    """

    def __init__(self, bench, policy: Policy):
        self.bench, self.policy = bench, policy
        self.nobody = secrets.token_hex()  # the visitor where no request says who it is: has nothing
        self.uploads, self.hub = Uploads(policy), HubAccess()
        self.limit = RateLimit(policy.actions, policy.actions_of_all)
        self.queue = RunQueue(self._begin, policy.waiting)
        # What each shows while it has nothing to show.
        self.blank = {
            "model": bench.model_state,
            "rows": bench.preparing,
            "probe": bench.probing,
            "measuring": bench.measuring.state,
            "exporting": bench.exporting.state,
            "blind test": bench.blind_test.shown(),
        }
        self.holder = ""  # the visitor who does something now
        self._turn = Desk()
        self._owners: dict[str, tuple[str, float]] = {}  # of the last rows, probe and blind test, and since when
        self._loaded: tuple[object, str, float] = (None, "", 0.0)  # a model as it was reported, its visitor, since when
        self._refused: tuple[object, str] = (None, "")  # a model that could not be loaded, and its visitor
        self._runs: dict[str, str] = {}  # the visitors of runs that the list of runs may not have yet
        self._last: dict[str, Snapshot] = {}  # the last run of each visitor whose run is not the newest
        self._closed = threading.Event()

    def visit(self, visitor: str) -> "Visit":
        """The workbench as this visitor sees it."""
        return Visit(self, visitor or self.nobody)

    # Whose things are

    @contextmanager
    def turn(self, visitor: str, doing: str, counts: bool = True) -> Iterator[None]:
        """This visitor alone uses the workbench within the block. What is loaded meanwhile is theirs. Raises Busy."""
        if counts:
            self.limit.count(visitor)
        with self._turn.taken(doing):
            if self.bench.busy_with:
                raise Busy("This must wait: {doing}.", doing=tr(self.bench.busy_with))
            self.holder, before = visitor, self.bench.model_state.report
            try:
                yield
            finally:
                self.holder, after = "", self.bench.model_state
                if after.report is not before:
                    self._loaded = after.report, visitor, time.time()
                if after.error:
                    self._refused = after, visitor

    def wait_while(self, doing: str) -> None:
        """Waits until no visitor is doing that; `doing` as in `core.workbench.desk`."""
        self._turn.wait_while(doing)

    @contextmanager
    def taking(self, visitor: str, *parts: str) -> Iterator[None]:
        """From now on the visitor owns the last rows, probe or blind test, unless the block finds them in use."""
        before = dict(self._owners)
        self._owners |= dict.fromkeys(parts, (visitor, time.time()))
        try:
            yield
        except (Busy, BlindError):
            self._owners = before
            raise

    def owns(self, part: str, visitor: str) -> bool:
        return self._owners.get(part, ("",))[0] == visitor

    def owner_of(self, run_id: str) -> str | None:
        """The visitor whose run it is; empty for a run of whoever runs the program, None for none."""
        if run_id in self._runs:
            return self._runs[run_id]
        return next((row.owner for row in self.bench.runs.rows() if row.id == run_id), None)

    def age(self, part: str) -> float:
        """How many seconds ago the last one began; without end for none."""
        return time.time() - self._owners.get(part, ("", float("-inf")))[1]

    @property
    def doing(self) -> str:
        """What a visitor does now, as half a sentence."""
        return self._turn.doing

    def owns_model(self, visitor: str) -> bool:
        """Whether the model was loaded by this visitor, or has the adapter of one of their runs."""
        state = self.bench.model_state
        if state.adapter:
            return self.owner_of(state.adapter) == visitor
        return state.report is not None and self._loaded[0] is state.report and self._loaded[1] == visitor

    def sees_model(self, visitor: str) -> bool:
        """Whether the model is this visitor's, is being loaded for them, or could not be."""
        state = self.bench.model_state
        if self.owns_model(visitor):
            return True
        if state.error:
            return self._refused[0] is state and self._refused[1] == visitor
        run = self.bench.snapshot if self.bench.is_training else None
        is_for_run = run is not None and self.owner_of(run.run_id) == visitor
        return bool(state.doing) and (self.holder == visitor or is_for_run)

    # Runs

    def last_run(self, visitor: str) -> Snapshot | None:
        """The visitor's run that waits, is in progress, or was the last."""
        if waiting := self.queue.of(visitor):
            words = tr("Waiting for its turn: place {place} in the queue", place=self.queue.place(visitor))
            return Snapshot(run_id=waiting.run.id, name=waiting.run.name, message=words)
        now = self.bench.snapshot
        if now is not None and self.owner_of(now.run_id) == visitor:
            return now
        return self._last.get(visitor)

    def begin(self, visitor: str, make: Callable[[], Waiting]) -> Run:
        """Begins the run that `make` makes a folder for, now or when its turn comes. Raises Busy and RunError."""
        if self.policy.waiting:
            self.limit.count(visitor)
            return self.queue.add(visitor, make)
        with self.turn(visitor, BEGINNING):
            waiting = make()
            self._begin_now(waiting)
        return waiting.run

    def leave_queue(self, visitor: str) -> bool:
        """Takes the visitor's run out of the queue; False when none waits."""
        run = self.queue.remove(visitor)
        if run is not None:
            self._last[visitor] = run.snapshot()
        return run is not None

    def _stop(self, run_id: str) -> None:
        now = self.bench.snapshot
        if now is not None and now.run_id == run_id and self.bench.is_training:
            self.bench.stop()

    def _begin(self, waiting: Waiting) -> None:
        """Begins a run whose turn it is. Raises Busy while something else uses the workbench, and RunError."""
        with self.turn(waiting.run.owner, BEGINNING, counts=False):
            self._begin_now(waiting)

    def _begin_now(self, waiting: Waiting) -> None:
        """Begins a run, which is stopped when it takes too long."""
        run, before = waiting.run, self.bench.snapshot
        if before is not None and (owner := self.owner_of(before.run_id)):
            self._last[owner] = before
        self._runs[run.id] = run.owner
        with self.taking(run.owner, "rows"):  # which the run will read
            waiting.begin()
        timer = threading.Timer(self.policy.run_seconds, self._stop, [run.id])
        timer.daemon = True
        timer.start()

    # Tidying up

    def keep_tidy(self) -> None:
        """Deletes every minute, in the background, what is older than the policy keeps it."""
        if self.policy.kept_seconds is None:
            return

        def look() -> None:
            while not self._closed.wait(LOOK_SECONDS):
                try:
                    self.sweep(time.time())
                except (RunError, OSError) as error:  # the next look tries again
                    print(tr("Expired files could not be deleted: {reason}", reason=error), file=sys.stderr)

        threading.Thread(target=look, name="tidying up", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self.queue.close()

    def sweep(self, now: float) -> None:
        """Deletes what visitors made longer ago than the policy keeps it: runs, uploads, rows and the model."""
        oldest = now - self.policy.kept_seconds
        for row in self.bench.runs.rows(fresh=True):
            if row.owner and (made_at(row.id) or row.started) < oldest and not row.is_going_on:
                shutil.rmtree(row.folder, ignore_errors=True)
                self._runs.pop(row.id, None)
        old = [run.id for run in self.bench.trash.runs() if run.owner and (made_at(run.run_id) or 0) < oldest]
        self.bench.trash.empty(old)
        sweep_uploads(self.bench.runs_dir, (time.time() - oldest) / DAY)
        self.uploads.forget_missing()
        known = {row.id for row in self.bench.runs.rows(fresh=True)}
        self._last = {who: run for who, run in self._last.items() if run.run_id in known}
        gone = [part for part, (_, since) in self._owners.items() if since < oldest]
        for part in gone:
            del self._owners[part]
        if "blind test" in gone:
            self.bench.blind_test.end()
        if "rows" in gone or self._is_model_old(oldest, known):
            try:
                self.bench.forget()
            except Busy:  # the next look does it
                if "rows" in gone:
                    self._owners["rows"] = "", 0.0

    def _is_model_old(self, oldest: float, known: set[str]) -> bool:
        """Whether the loaded model is of a run that is not `known` any more, or was loaded before `oldest`."""
        state, (report, _, since) = self.bench.model_state, self._loaded
        if state.adapter:
            return state.adapter not in known
        return state.report is not None and state.report is report and since < oldest
