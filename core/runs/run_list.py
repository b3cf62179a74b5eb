"""All runs of a folder as a table, kept up to date cheaply.

A run is read again only when its files have changed, and of a growing history only the new lines are read. So a page
can ask every second, however many and however long the runs are. A damaged run is listed with what can be read of it.
"""

import os
import threading
import time
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

from core.disk.tolerant_reading import Unreadable, in_words, read_json
from core.problems import RunError, tr, trn
from core.runs.events import Event, from_line
from core.runs.overview import Overview
from core.runs.run_folder import INTERRUPTED, Run, made_at, open_run, owner_lives
from core.runs.snapshot import Snapshot, fold_all
from core.settings.run_config import RunConfig

LOOK_SECONDS = 0.5  # pages that ask at the same time share one look at the disk


class RunList:
    """The runs of a folder. Safe to use from several threads."""

    def __init__(self, runs_dir: Path, look_seconds: float = LOOK_SECONDS):
        self.runs_dir = runs_dir
        self._look_seconds = look_seconds
        self._looked = float("-inf")
        self._known: dict[str, _Known] = {}
        self._rows: tuple[Overview, ...] = ()
        self._lock = threading.Lock()

    def rows(self, fresh: bool = False) -> tuple[Overview, ...]:
        """All runs, the newest first; the same tuple as before if nothing has changed.

        The rows are at most half a second old, or read just now with `fresh`.
        """
        with self._lock:
            if fresh or time.monotonic() - self._looked >= self._look_seconds:
                self._look()
                self._looked = time.monotonic()
            return self._rows

    def find(self, run_id: str) -> Overview:
        """Raises RunError if no listed run has this id: what a page sends is never used as a path."""
        for row in self.rows(fresh=True):
            if row.id == run_id:
                return row
        raise RunError("Run {run!r:.80} no longer exists; it was moved or deleted.", run=run_id)

    def open(self, run_id: str) -> Run:
        """The folder of a listed run. Raises RunError."""
        return open_run(self.find(run_id).folder)

    def name_of(self, run_id: str) -> str | None:
        """The present name of a run; None if it is not listed."""
        return next((row.name for row in self.rows() if row.id == run_id), None)

    def preset_of(self, run_id: str) -> str:
        """The preset that a run was started from; empty if there is none, or the run is not listed."""
        return next((row.preset for row in self.rows() if row.id == run_id), "")

    def following(self, run_id: str) -> Snapshot | None:
        """The snapshot of a run that is in progress; None if it is not."""
        self.rows()
        with self._lock:
            known = self._known.get(run_id)
            return known.history.snapshot if known and known.history and known.row.is_going_on else None

    def describe(self, run_id: str, name: str, note: str) -> None:
        """Gives a run a new name and note. Raises RunError."""
        run = self.open(run_id)
        if not name.strip():
            raise RunError("A run needs a name.")
        try:
            is_renamed = run.is_renamed or name.strip() != run.name
            run.write_about(name=name.strip(), note=note.strip(), is_renamed=is_renamed, preset=run.preset)
        except OSError as error:
            raise RunError(
                "The name and note of run {run} cannot be saved: {reason}.", run=run_id, reason=in_words(error)
            ) from None
        with self._lock:
            self._looked = float("-inf")  # the new name counts at once

    def _look(self) -> None:
        known: dict[str, _Known] = {}
        for name in sorted(_names(self.runs_dir), reverse=True):
            before = self._known.get(name)
            files = _files(f"{self.runs_dir}{os.sep}{name}")
            if before is None or before.files != files:
                before = _read(self.runs_dir / name, files, before)
            elif before.history is not None:  # not over: its program may have died without changing a file
                before = before.with_owner()
            known[name] = before
        self._known = known
        rows = tuple(found.row for found in known.values() if found.row is not None)
        if rows != self._rows:
            self._rows = rows


@dataclass(frozen=True)
class _History:
    """An events file as far as it was read: up to byte `end`, with `broken` unreadable lines."""

    snapshot: Snapshot
    end: int = 0
    broken: int = 0
    rest: bytes = b""  # an unfinished last line


@dataclass(frozen=True)
class _Known:
    files: tuple
    row: Overview | None  # None: this folder is not a run
    history: _History | None  # of a run that is not over, so that only new lines need to be read

    def with_owner(self) -> "_Known":
        is_going_on = owner_lives(self.row.folder)
        if is_going_on == self.row.is_going_on:
            return self
        return _Known(self.files, _owned(self.row, self.history.snapshot, is_going_on), self.history)


def _names(runs_dir: Path) -> list[str]:
    try:
        with os.scandir(runs_dir) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _files(folder: str) -> tuple:
    """Changes whenever a run does."""
    # The folder's own time changes when files come, go or are replaced; only the history grows in place.
    return _stat(folder), _stat(f"{folder}/events.jsonl")


def _stat(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(folder: Path, files: tuple, before: _Known | None) -> _Known:
    if not any(os.path.isfile(folder / name) for name in ("run.json", "config.yaml", "events.jsonl")):
        return _Known(files, None, None)
    run = open_run(folder)
    config, faults = None, []
    try:
        config = run.config()
    except RunError as error:
        is_there = (folder / "config.yaml").is_file()
        faults.append(str(error) if is_there else tr("Its config.yaml is missing, so its settings are unknown."))
    if not _is_described(folder):
        faults.append(tr("Its run.json is missing or damaged, so its name and note are unknown."))
    grown = before.history if before and _is_grown(before, files) else None
    history = _history(folder / "events.jsonl", grown or _History(Snapshot(run_id=run.id, name=run.name)))
    if history.snapshot.name != run.name:  # it was renamed
        history = replace(history, snapshot=history.snapshot.model_copy(update={"name": run.name}))
    is_over = history.snapshot.is_over
    broken = history.broken + bool(history.rest and is_over)
    if not (folder / "events.jsonl").is_file():
        faults.append(tr("Its events.jsonl is missing, so its progress is unknown."))
    elif broken:
        faults.append(
            trn(
                "One line of its history cannot be read and is left out.",
                "{count:,} lines of its history cannot be read and are left out.",
                broken,
            )
        )
    row = _overview(run, config, history.snapshot, " ".join(faults), files)
    if is_over:
        return _Known(files, row, None)
    return _Known(files, _owned(row, history.snapshot, owner_lives(folder)), history)


def _is_grown(before: _Known, files: tuple) -> bool:
    """Whether the history is the same file as before, and no shorter than what was read of it."""
    if before.history is None or before.files[1] is None or files[1] is None:
        return False
    return before.files[1][2] == files[1][2] and files[1][1] >= before.history.end


def _is_described(folder: Path) -> bool:
    try:
        read_json(folder / "run.json")
    except Unreadable:
        return False
    return True


def _history(path: Path, before: _History) -> _History:
    """The history as read before, plus what was written since."""
    try:
        if not path.is_file():  # opening a pipe would block
            return before
        with open(path, "rb") as file:
            file.seek(before.end)
            *lines, rest = file.read().split(b"\n")
    except OSError:
        return before
    events: list[Event] = []
    broken = before.broken
    for line in lines:
        if line.strip():
            event = from_line(line.decode("utf-8", "replace"))
            if event is None:
                broken += 1
            else:
                events.append(event)
    end = before.end + sum(len(line) + 1 for line in lines)
    return _History(fold_all(before.snapshot, events), end, broken, rest)


def _overview(run: Run, config: RunConfig | None, snapshot: Snapshot, fault: str, files: tuple) -> Overview:
    best, done = snapshot.best, snapshot.finished
    peaks = [m.used_by_us_gib if m.peak_reserved_gib is None else m.peak_reserved_gib for m in snapshot.memory]
    losses = [evaluated.eval_loss for evaluated in snapshot.evaluations if isfinite(evaluated.eval_loss)]
    if done and done.eval_loss is not None and isfinite(done.eval_loss):
        losses.append(done.eval_loss)
    return Overview(
        id=run.id,
        folder=run.folder,
        name=run.name,
        is_renamed=run.is_renamed,
        preset=run.preset,
        note=run.note,
        status=snapshot.status,
        message=snapshot.message,
        fault=fault,
        started=snapshot.started if snapshot.started is not None else _started(run.id, files),
        model=config.model.model_name if config else "",
        data=config.data.path if config else "",
        step=snapshot.step,
        steps=snapshot.max_steps,
        best_loss=best.eval_loss if best else None,
        best_step=best.step if best else None,
        last_loss=losses[-1] if losses else None,
        seconds=snapshot.seconds,
        peak_gib=done.peak_memory_gib if done else max(peaks, default=None),
        has_adapter=run.has_adapter,
        checkpoints=snapshot.checkpoints,
        base=config.model.base if config else (),
        owner=run.owner,
        group=run.group,
    )


def _owned(row: Overview, snapshot: Snapshot, is_going_on: bool) -> Overview:
    """A run that is not over is in progress, or its program died."""
    if is_going_on:
        return replace(row, status=snapshot.status, message=snapshot.message, is_going_on=True)
    return replace(row, status="interrupted", message=INTERRUPTED, is_going_on=False)


def _started(run_id: str, files: tuple) -> float:
    """From the run's id, or else from its files."""
    made = made_at(run_id)
    return made if made is not None else max(found[0] for found in files if found) / 1e9
