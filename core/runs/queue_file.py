"""The queue of whoever runs the program: runs that wait for their turn, in a file beside the runs.

    runs/queue.json    {"is_paused": false, "entries": [{"id": "7f3a", "settings": {…}, …}], "ended": [ids of runs]}
    runs/queue.lock    held while the file is read and changed

It outlives the program, and any program with this folder may change it: the page, and the commands of `app.py queue`.
An entry has the settings of a run and becomes a run when its turn comes; from then on `run_id` names that, and the
entry stays until the run has ended. A token is never in it. The stages of a recipe are entries of one group, where a
later one continues from the name of an earlier one.

`core.visitors.run_queue` is for the visitors of a shared page, who have one run each: it is in memory, knows whose turn
it is, holds tokens, and ends with the program. Neither ever has a run of the other.
"""

import json
import os
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from core.disk.atomic import write_whole
from core.disk.tolerant_reading import Unreadable, in_words, read_json
from core.problems import ConfigError, RunError, tr
from core.runs.run_folder import open_run, owner_lives
from core.settings.run_config import RunConfig

FILE, LOCK = "queue.json", "queue.lock"
LOCK_SECONDS = 20  # a program that changes the queue is done in far less
MOST_ENTRIES = 200
_TEXTS = ("id", "name", "preset", "group", "run_id")


@dataclass(frozen=True)
class Entry:
    """A run in the queue, in progress or not begun yet.

    `config` is None if its settings cannot be read, and `fault` says why. `name` may be empty: the run then gets one
    that is made from its settings. Entries that were added in one step have the same `group`. `raw` is what the file
    has: what another version wrote stays in it.
    """

    id: str
    config: RunConfig | None
    name: str = ""
    preset: str = ""
    group: str = ""
    run_id: str = ""
    fault: str = ""
    raw: Any = None

    @property
    def title(self) -> str:
        return self.name or (self.config.run_name if self.config else self.id)


@dataclass(frozen=True)
class Queue:
    """The queue as it was read. `ended` are the runs that have ended since something was added to an empty queue."""

    entries: tuple[Entry, ...] = ()
    is_paused: bool = False
    ended: tuple[str, ...] = ()

    @property
    def next(self) -> Entry | None:
        """The entry to begin or to resume: runs that were begun come first."""
        usable = [entry for entry in self.entries if not entry.fault]
        return next((entry for entry in usable if entry.run_id), usable[0] if usable else None)

    def find(self, entry_id: str) -> Entry:
        """Raises RunError if it is not there: its run may have ended meanwhile."""
        for entry in self.entries:
            if entry.id == entry_id:
                return entry
        raise RunError("{entry!r:.40} is no longer in the queue.", entry=entry_id)


EMPTY = Queue()


class QueueFile:
    """Reads and changes the file. Safe to use from several threads and programs."""

    def __init__(self, runs_dir: Path):
        self.runs_dir, self.path = runs_dir, runs_dir / FILE
        self._known: tuple[tuple, Queue] = ((), EMPTY)

    def read(self) -> Queue:
        """The queue; the same object as before if nothing has changed. Raises RunError if it cannot be read."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return EMPTY
        except OSError as error:
            raise _unreadable(self.path, in_words(error)) from None
        stamp = found.st_mtime_ns, found.st_size, found.st_ino
        if self._known[0] != stamp:
            self._known = stamp, _parsed(self.path)
        return self._known[1]

    def change(self, how: Callable[[Queue], Queue]) -> Queue:
        """Replaces the queue by what `how` makes of it, while nobody else can change it; returns that.

        Raises RunError, and what `how` raises: the file is then as it was.
        """
        try:
            self.runs_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(self.runs_dir / LOCK, timeout=LOCK_SECONDS):
                before = self.read()
                after = how(before)
                if after != before:
                    write_whole(self.path, _written(after))
                return after
        except Timeout:
            raise RunError("Another program is changing the queue; try again in a moment.") from None
        except OSError as error:
            raise RunError(
                "The queue cannot be saved in {folder}: {reason}.", folder=str(self.runs_dir), reason=in_words(error)
            ) from None

    def add(self, runs: Sequence[tuple[str, RunConfig]], preset: str = "", group: str = "") -> list[Entry]:
        """Adds runs at the end, each with its name, which may be empty; several get a group of their own if none is
        given. Raises RunError."""
        group = group or (_new_group() if len(runs) > 1 else "")
        added: list[Entry] = []

        def longer(queue: Queue) -> Queue:
            if len(queue.entries) + len(runs) > MOST_ENTRIES:
                raise RunError("The queue has room for {most} runs; drop some of them first.", most=MOST_ENTRIES)
            taken = {entry.id for entry in queue.entries}
            for name, config in runs:
                added.append(Entry(_new_id(taken), config, name, preset, group))
                taken.add(added[-1].id)
            return replace(queue, entries=(*queue.entries, *added), ended=queue.ended if queue.entries else ())

        self.change(longer)
        return added

    def drop(self, entry_ids: Collection[str]) -> None:
        """Takes entries out. A run that was begun and has stopped keeps its folder. Raises RunError if one of them is
        not there or is in progress; then none is taken out."""

        def shorter(queue: Queue) -> Queue:
            for entry in map(queue.find, entry_ids):
                if entry.run_id and is_in_progress(self.runs_dir / entry.run_id):
                    raise RunError("{run} is in progress; stop it first.", run=entry.title)
            return replace(queue, entries=tuple(entry for entry in queue.entries if entry.id not in entry_ids))

        self.change(shorter)

    def move(self, entry_id: str, place: int) -> None:
        """Moves an entry to a place among those that were not begun; 1 is the next. Raises RunError."""

        def moved(queue: Queue) -> Queue:
            entry = queue.find(entry_id)
            if entry.run_id:
                raise RunError("{run} has already started, so it stays first.", run=entry.title)
            waiting = [other for other in queue.entries if not other.run_id and other is not entry]
            waiting.insert(max(place, 1) - 1, entry)
            begun = [other for other in queue.entries if other.run_id]
            return replace(queue, entries=(*begun, *waiting))

        self.change(moved)

    def pause(self, is_paused: bool) -> None:
        """Whether the next run must wait. Raises RunError."""
        self.change(lambda queue: replace(queue, is_paused=is_paused))

    def forget_ended(self) -> None:
        """Empties the list of runs that have ended. Raises RunError."""
        self.change(lambda queue: replace(queue, ended=()))


def is_in_progress(folder: Path) -> bool:
    """Whether a living program works on the run in this folder."""
    return owner_lives(folder) and not open_run(folder).says_it_is_over()


def _new_id(taken: Collection[str]) -> str:
    while (made := secrets.token_hex(2)) in taken:
        continue
    return made


def _new_group() -> str:
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _unreadable(path: Path, reason: object) -> RunError:
    return RunError(
        "The queue cannot be read: {file}: {reason}; repair that file, or move it away to start with an empty queue.",
        file=str(path), reason=reason,
    )  # fmt: skip


def _parsed(path: Path) -> Queue:
    try:
        found = read_json(path)
    except Unreadable as error:
        raise _unreadable(path, error) from None
    entries, ended = found.get("entries", []), found.get("ended", [])
    if not isinstance(entries, list):
        raise _unreadable(path, tr("its entries are not a list"))
    return Queue(
        tuple(_entry(raw, place) for place, raw in enumerate(entries, 1)),
        found.get("is_paused") is True,
        tuple(run for run in ended if isinstance(run, str)) if isinstance(ended, list) else (),
    )


def _entry(raw: Any, place: int) -> Entry:
    """One that cannot be used is kept with its fault, for the version that can, or for the person to drop."""
    if not isinstance(raw, dict):
        return Entry(f"entry-{place}", None, fault=tr("It is damaged."), raw=raw)
    texts = {key: raw[key] for key in _TEXTS if isinstance(raw.get(key), str)}
    texts.setdefault("id", f"entry-{place}")
    try:
        return Entry(config=RunConfig.build(raw.get("settings")), raw=raw, **texts)
    except ConfigError as error:
        return Entry(config=None, fault=str(error), raw=raw, **texts)


def _written(queue: Queue) -> str:
    values = {"is_paused": queue.is_paused, "entries": [_as_raw(entry) for entry in queue.entries]}
    return json.dumps(values | {"ended": list(queue.ended)}, indent=1, ensure_ascii=False) + "\n"


def _as_raw(entry: Entry) -> Any:
    if entry.config is None:
        return entry.raw
    texts = {key: getattr(entry, key) for key in _TEXTS}
    return (entry.raw or {}) | texts | {"settings": entry.config.model_dump()}
