"""Runs on disk: a folder each, that a person can read, copy and delete. Knows nothing of torch or gradio.

runs/<id>/config.yaml    the RunConfig it was started with
runs/<id>/run.json       its name, a note of the person's own, and the process that wrote it
runs/<id>/events.jsonl   everything it told of itself, a line each, in order
runs/<id>/adapter/       what training made
runs/<id>/checkpoints/   step-<N>, each an adapter with all that it takes to go on from there
runs/<id>/summary.json   the figures at the end
runs/<id>/log.txt        the stack trace of a failure
"""

import json
import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

import psutil

from core.disk.atomic import remove_left_aside, write_whole
from core.disk.json_lines import append_lines, read_lines
from core.disk.tolerant_reading import Unreadable, read_json, read_text
from core.problems import ConfigError, RunError
from core.runs.checkpoint_list import Checkpoint, list_checkpoints
from core.runs.events import FINAL, Event, StatusChanged, from_line, to_line
from core.runs.snapshot import Snapshot, fold_all
from core.settings.run_config import RunConfig

LAST_BYTES = 4096  # of a history: more than the line that says how a run ended takes


@dataclass
class Run:
    """One run's folder. Appending is safe from several threads of the process that owns the run."""

    folder: Path
    name: str
    note: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _unwritten: list[bytes] = field(default_factory=list, repr=False)

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def adapter_dir(self) -> Path:
        return self.folder / "adapter"

    @property
    def has_adapter(self) -> bool:
        return (self.adapter_dir / "adapter_config.json").is_file()

    @property
    def checkpoints_dir(self) -> Path:
        return self.folder / "checkpoints"

    def checkpoints(self) -> list[Checkpoint]:
        return list_checkpoints(self.checkpoints_dir)

    def checkpoint(self, step: int) -> Checkpoint:
        """Raises RunError when there is none of that step."""
        for found in self.checkpoints():
            if found.step == step:
                return found
        raise RunError(f"Run {self.id} has no checkpoint of step {step:,}; it was replaced by a newer one.")

    def clear_up(self) -> None:
        """Removes what a killed program left half written; only when no program is at work on the run."""
        remove_left_aside(self.folder)
        remove_left_aside(self.checkpoints_dir)

    def append(self, event: Event) -> None:
        """Writes the event so that another process sees it at once. Raises OSError when the disk is full.

        What could not be written is kept, and written before the next event.
        """
        with self._lock:
            self._unwritten.append(to_line(event).encode())
            append_lines(self.folder / "events.jsonl", self._unwritten)
            self._unwritten.clear()

    def claim(self) -> None:
        """This process owns the run from now on. Raises OSError."""
        self.write_about(pid=os.getpid(), pid_started=_started())

    def write_about(self, **values) -> None:
        """Changes what run.json says, name and note among it. Raises OSError."""
        write_whole(self.folder / "run.json", json.dumps(_about(self.folder) | values) + "\n")
        self.name, self.note = values.get("name", self.name), values.get("note", self.note)

    def config(self) -> RunConfig:
        """Raises RunError when the saved settings are missing or damaged."""
        try:
            return RunConfig.from_yaml(read_text(self.folder / "config.yaml"))
        except Unreadable as error:
            raise RunError(f"The settings of run {self.id} cannot be read: of config.yaml, {error}.") from None
        except ConfigError as error:
            raise RunError(f"The settings of run {self.id} cannot be read: {error}") from None

    def says_it_is_over(self) -> bool:
        """Whether the last thing that it told is how it ended: known without reading a long history."""
        try:
            with open(self.folder / "events.jsonl", "rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - LAST_BYTES, 0))
                last = from_line(file.read().rstrip(b"\n").rpartition(b"\n")[2].decode("utf-8", "replace"))
        except OSError:
            return False
        return isinstance(last, StatusChanged) and last.status in FINAL

    def snapshot(self) -> Snapshot:
        """The run as its events tell it. Lines that are no events, such as one cut off by a crash, are passed over."""
        lines: list[bytes] = []
        with suppress(OSError):
            lines = read_lines(self.folder / "events.jsonl")
        events = [event for line in lines if (event := from_line(line.decode("utf-8", "replace"))) is not None]
        return fold_all(Snapshot(run_id=self.id, name=self.name), events)

    def write_summary(self, values: dict) -> None:
        (self.folder / "summary.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def create_run(runs_dir: Path, name: str, config: RunConfig) -> Run:
    """A new folder with the settings in it. Raises RunError when it cannot be made."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = runs_dir / (f"{stamp}-{slug}" if number == 1 else f"{stamp}-{slug}-{number}")
            try:
                folder.mkdir()
                break
            except FileExistsError:
                continue
        (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        run = Run(folder, name)
        run.write_about(name=name)
        run.claim()
    except OSError as error:
        raise RunError(f"No run can be kept in {runs_dir}: {error.strerror or error}.") from None
    return run


def list_runs(runs_dir: Path) -> list[Run]:
    """All runs, the newest first. Folders that are no runs are passed over."""
    if not runs_dir.is_dir():
        return []
    folders = [folder for folder in runs_dir.iterdir() if (folder / "run.json").is_file()]
    return [open_run(folder) for folder in sorted(folders, key=lambda folder: folder.name, reverse=True)]


def open_run(folder: Path) -> Run:
    about = _about(folder)
    return Run(folder, _words(about.get("name"), 200) or folder.name, _words(about.get("note"), 5000))


def find_run(runs_dir: Path, id_or_dir: str) -> Run:
    """The run of that id, or in that folder. Raises RunError."""
    for folder in (runs_dir / id_or_dir, Path(id_or_dir)):
        if (folder / "run.json").is_file():
            return open_run(folder.resolve())
    raise RunError(f"There is no run {id_or_dir!r} in {runs_dir}; give a run's id or its folder.")


def find_adapter(runs_dir: Path, wanted: str) -> Path:
    """The adapter folder to go on from: of that run, that folder (one of a checkpoint such as RUN/checkpoints/step-100
    among them), or the newest completed run of that name.

    Raises RunError.
    """
    for folder in (Path(wanted), runs_dir / wanted):
        if (folder / "adapter_config.json").is_file():
            return folder.resolve()
    named = [run for run in list_runs(runs_dir) if run.name == wanted and run.has_adapter]
    run = next((run for run in named if run.snapshot().status == "completed"), None)
    if run is None:
        try:
            run = find_run(runs_dir, wanted)
        except RunError:
            raise RunError(
                f"This run goes on from {wanted!r}, and there is no completed run of that name: train it first."
            ) from None
    if not run.has_adapter:
        raise RunError(f"Run {run.id} kept no adapter to go on from.")
    return run.adapter_dir


def mark_interrupted(runs_dir: Path) -> list[Run]:
    """Runs whose program died become `interrupted`; returns those."""
    found = []
    for run in list_runs(runs_dir):
        if not (owner_lives(run.folder) or run.says_it_is_over() or run.snapshot().is_over):
            run.clear_up()
            with suppress(OSError):  # a full disk: it is said the next time
                run.append(StatusChanged(status="interrupted", message="The program ended before the run did."))
            found.append(run)
    return found


def _about(folder: Path) -> dict:
    try:
        return read_json(folder / "run.json")
    except Unreadable:
        return {}


def _words(value: object, most: int) -> str:
    """Text as a page can show it; empty for what is no text. Half of a surrogate pair cannot be sent to one."""
    return value[:most].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


@cache
def _started() -> float:
    """When this program began, in seconds since 1970."""
    return psutil.Process().create_time()


def owner_lives(folder: Path) -> bool:
    """Whether the program that works on a run, or did last, still runs."""
    # The process's start is compared too, because the system gives old numbers to new processes.
    about = _about(folder)
    try:
        pid, started = int(about.get("pid", 0)), float(about.get("pid_started", 0))
        # Our own start is what we wrote: the system's clock, by which it is told, may have been set since.
        return abs((_started() if pid == os.getpid() else psutil.Process(pid).create_time()) - started) < 2
    except (psutil.Error, ValueError, TypeError, OverflowError):
        return False
