"""Runs on disk: one folder each, which a person can read, copy and delete.

runs/<id>/config.yaml    the RunConfig it was started with
runs/<id>/run.json       its name, the preset it was started from, the person's note, the date in its prompts, the
                         process that wrote it, the visitor it belongs to, and the group of variations it is one of
runs/<id>/events.jsonl   all its events in order, one per line
runs/<id>/adapter/       the trained adapter
runs/<id>/checkpoints/   step-<N>: an adapter with everything needed to resume from it
runs/<id>/summary.json   the figures at the end
runs/<id>/log.txt        the stack trace of a failure
"""

import json
import os
import re
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from core.disk.atomic import remove_left_aside, write_whole
from core.disk.json_lines import append_lines, read_lines
from core.disk.tolerant_reading import Unreadable, in_words, read_json, read_text
from core.problems import ConfigError, RunError, mark
from core.runs.checkpoint_list import Checkpoint, list_checkpoints
from core.runs.events import FINAL, Event, StatusChanged, from_line, to_line
from core.runs.owner import changing_owner, is_alive, this_process
from core.runs.snapshot import Snapshot, fold_all
from core.settings.paths import PRESETS_DIR, resolve_path
from core.settings.run_config import RunConfig

END_OF_HISTORY = 4096  # bytes; longer than the line that says how a run ended
IN_PROGRESS = mark("Run {run} is in progress in another program: stop it there first.")
INTERRUPTED = mark("The program ended before the run did.")  # is kept with the run in English


@dataclass
class Run:
    """One run's folder. Several threads of the process that owns the run may append to it.

    `is_renamed`: a person gave it its name. `preset` is the name of the preset it was started from, if any.
    """

    folder: Path
    name: str
    note: str = ""
    owner: str = ""  # the visitor who started it (`core.visitors`); empty for whoever runs the program
    is_renamed: bool = False
    preset: str = ""
    group: str = ""  # of runs that were queued in one step, to be compared
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _unwritten: list[bytes] = field(default_factory=list, repr=False)

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def short_name(self) -> str:
        """For the names of files and models: the name that a person gave it, or else that of its preset."""
        return self.name if self.is_renamed else self.preset or self.name

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
        """The checkpoint of a step. Raises RunError if there is none."""
        for found in self.checkpoints():
            if found.step == step:
                return found
        raise RunError(
            "Run {run} has no checkpoint at step {step:,}; it was replaced by a newer one.", run=self.id, step=step
        )

    def clear_up(self) -> None:
        """Removes what a killed program left half written. Only safe while no program is working on the run."""
        remove_left_aside(self.folder)
        remove_left_aside(self.checkpoints_dir)

    def append(self, event: Event | None = None) -> None:
        """Appends an event; when this returns, other processes see it. Raises OSError, for instance on a full disk.

        It is not synced to the disk, which would make every step wait: after a power cut the run resumes from its last
        checkpoint, and checkpoints are synced. An event that could not be written is kept in memory and written before
        the next one, or by a call without one.
        """
        with self._lock:
            if event is not None:
                self._unwritten.append(to_line(event).encode())
            append_lines(self.folder / "events.jsonl", self._unwritten, sync=False)
            self._unwritten.clear()

    @property
    def prompt_date(self) -> date:
        """The day that a chat template takes for today in all prompts of this run.

        If an earlier version wrote the run, that is the day of its first step, or today if it has none.
        """
        try:
            return date.fromisoformat(_about(self.folder)["prompt_date"])
        except (LookupError, TypeError, ValueError):
            steps = self.snapshot().steps
            return date.fromtimestamp(steps[0].time) if steps else date.today()

    def take_over(self) -> None:
        """Makes this process the owner of the run, keeps the date of its prompts, and removes what a killed program
        left half written. Raises RunError if another program works on the run, and OSError."""
        with changing_owner(self.folder):
            about = _about(self.folder)
            if is_alive(about) and about.get("pid") != os.getpid() and not self.says_it_is_over():
                raise RunError(IN_PROGRESS, run=self.id)
            self.write_about(**this_process(), prompt_date=self.prompt_date.isoformat())
            self.clear_up()

    def write_about(self, **values) -> None:
        """Changes values in run.json, such as name and note. Raises OSError."""
        write_whole(self.folder / "run.json", json.dumps(_about(self.folder) | values) + "\n")
        self.name, self.note = values.get("name", self.name), values.get("note", self.note)
        self.is_renamed = values.get("is_renamed", self.is_renamed)

    def config(self) -> RunConfig:
        """The settings it was started with. Raises RunError if they are missing or damaged."""
        try:
            return RunConfig.from_yaml(read_text(self.folder / "config.yaml"))
        except Unreadable as error:
            raise RunError(
                "The settings of run {run} cannot be read: config.yaml: {reason}.", run=self.id, reason=error
            ) from None
        except ConfigError as error:
            raise RunError("The settings of run {run} cannot be read: {reason}", run=self.id, reason=error) from None

    def says_it_is_over(self) -> bool:
        """Whether its last event is how it ended. Reads only the end of the history."""
        try:
            with open(self.folder / "events.jsonl", "rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - END_OF_HISTORY, 0))
                last = from_line(file.read().rstrip(b"\n").rpartition(b"\n")[2].decode("utf-8", "replace"))
        except OSError:
            return False
        return isinstance(last, StatusChanged) and last.status in FINAL

    def snapshot(self) -> Snapshot:
        """The run as its events describe it. Unreadable lines, such as one cut off by a crash, are skipped."""
        lines: list[bytes] = []
        with suppress(OSError):
            lines = read_lines(self.folder / "events.jsonl")
        events = [event for line in lines if (event := from_line(line.decode("utf-8", "replace"))) is not None]
        return fold_all(Snapshot(run_id=self.id, name=self.name), events)

    def write_summary(self, values: dict) -> None:
        """Writes the figures at the end. Raises OSError."""
        (self.folder / "summary.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def create_run(runs_dir: Path, name: str, config: RunConfig, owner: str = "", preset: str = "") -> Run:
    """A new run's folder, with its settings in it. Raises RunError if it cannot be created.

    Without a `name` it gets one that is made from its settings; its id has the name of the preset then.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", (name or preset).lower()).strip("-")[:40] or "run"
    stamp, run = datetime.now().strftime("%Y%m%d-%H%M%S"), None
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = runs_dir / (f"{stamp}-{slug}" if number == 1 else f"{stamp}-{slug}-{number}")
            try:
                folder.mkdir()
                break
            except FileExistsError:
                continue
        run = Run(folder, name or config.run_name, owner=owner, preset=preset)
        about = {"name": run.name, "preset": preset} | ({"owner": owner} if owner else {})
        # First, and with its owner: another program would mark a run without a living owner as interrupted.
        run.write_about(**about, **this_process(), prompt_date=date.today().isoformat())
        (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    except OSError as error:
        if run is not None:
            shutil.rmtree(run.folder, ignore_errors=True)  # else half a run would count as in progress
        raise RunError(
            "Runs cannot be saved in {folder}: {reason}.", folder=str(runs_dir), reason=in_words(error)
        ) from None
    return run


def made_at(run_id: str) -> float | None:
    """When a run's folder was made, in seconds since 1970, from its id, which begins with the time."""
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").timestamp()
    except (ValueError, OverflowError):
        return None


def list_runs(runs_dir: Path) -> list[Run]:
    """All runs, the newest first. Other folders are skipped. Raises RunError if the folder cannot be read."""
    if not os.path.isdir(runs_dir):
        return []
    try:
        folders = [folder for folder in runs_dir.iterdir() if _has(folder, "run.json")]
    except OSError as error:
        raise RunError(
            "The runs in {folder} cannot be read: {reason}; choose another folder with --runs-dir.",
            folder=str(runs_dir), reason=in_words(error),
        ) from None  # fmt: skip
    return [open_run(folder) for folder in sorted(folders, key=lambda folder: folder.name, reverse=True)]


def open_run(folder: Path) -> Run:
    """The run in a folder; its id is its name if run.json is missing or damaged."""
    about = _about(folder)
    name = _text(about.get("name"), 200)
    run = Run(
        folder,
        name or folder.name,
        _text(about.get("note"), 5000),
        _text(about.get("owner"), 200),
        is_renamed=bool(name) and about.get("is_renamed") is True,
        preset=_text(about.get("preset"), 200),
        group=_text(about.get("group"), 200),
    )
    # Earlier versions gave runs the name of their preset.
    if "preset" not in about and not run.is_renamed and os.path.isfile(PRESETS_DIR / f"{name}.yaml"):
        run.preset = name
        with suppress(RunError):  # its settings are damaged: the preset's name is all there is
            run.name = run.config().run_name
    return run


def find_run(runs_dir: Path, id_or_dir: str) -> Run:
    """The run with that id, or in that folder, which may be anywhere. Raises RunError.

    It is marked as `interrupted` if its program died.
    """
    for folder in (runs_dir / id_or_dir, resolve_path(id_or_dir)):
        if folder is not None and _has(folder, "run.json"):
            run = open_run(folder.resolve())
            _mark_if_interrupted(run)
            return run
    raise RunError(
        "There is no run {run!r} in {folder}; use a run's id or its folder.", run=id_or_dir, folder=str(runs_dir)
    )


def run_key(runs_dir: Path, run: Run) -> str:
    """What `find_run` finds the run by: its id, or its folder if that is elsewhere, because ids are not unique then."""
    inside = runs_dir / run.id
    return run.id if inside.exists() and inside.samefile(run.folder) else str(run.folder)


def mark_interrupted(runs_dir: Path) -> list[Run]:
    """Marks runs whose program died as `interrupted`, and returns them."""
    return [run for run in list_runs(runs_dir) if _mark_if_interrupted(run)]


def _mark_if_interrupted(run: Run) -> bool:
    if owner_lives(run.folder) or run.says_it_is_over() or run.snapshot().is_over:
        return False
    # If the disk is full, or read-only, it is tried again the next time.
    with suppress(OSError), changing_owner(run.folder):
        if owner_lives(run.folder) or run.says_it_is_over():  # another program was faster, or has resumed it
            return False
        run.clear_up()
        run.append(StatusChanged(status="interrupted", message=INTERRUPTED))
    return True


def _has(folder: Path, name: str) -> bool:
    # Not Path.is_file, which raises an error where this program may not look.
    return os.path.isfile(folder / name)


def _about(folder: Path) -> dict:
    try:
        return read_json(folder / "run.json")
    except Unreadable:
        return {}


def _text(value: object, max_characters: int) -> str:
    """Text that can be sent to a page, without halves of surrogate pairs; empty for anything but text."""
    return value[:max_characters].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def owner_lives(folder: Path) -> bool:
    """Whether the process that last worked on a run is still alive."""
    return is_alive(_about(folder))
