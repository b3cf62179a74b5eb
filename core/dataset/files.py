"""The files that a path names: files and folders, one a line. Knows nothing of what is in them."""

import os
from pathlib import Path

from core.config import resolve_path
from core.dataset import kinds
from core.dataset.rows import DataError
from core.dataset.source import Source

MAX_IN_FOLDER = 50_000
# Beside files of rows these are about the data, not of it.
_ABOUT_THE_DATA = ("readme", "license", "licence", "changelog", "notice", "contributing", "citation")


def find(path: str) -> list[Source]:
    """The files that a path names: files or folders, one a line. Raises DataError."""
    wanted = [line.strip() for line in path.splitlines() if line.strip()]
    if not wanted:
        raise DataError("Choose a file or a folder with rows in it.")
    found: dict[Path, Source] = {}
    for given in wanted:
        resolved = resolve_path(given)
        if resolved is None:
            raise DataError(f"There is no file {kinds.shown(given)}; check the path, or drop the file on the Data tab.")
        if resolved.is_dir():
            new = _in_folder(resolved)
        else:
            kinds.refuse_by_name(resolved.name, kinds.shown(resolved.name))
            new = [Source(resolved, kinds.shown(resolved.name))]
        for source in new:
            if source.path in found:
                found[source.path].notes.append("named more than once, read once")
            found.setdefault(source.path, source)
    return list(found.values())


def _in_folder(folder: Path) -> list[Source]:
    """All files of rows in a folder and below it, by name; the first has a note of what was left aside."""
    paths = _walk(folder)
    readable = [path for path in paths if kinds.kind_by_name(path.name)]
    if not all(map(_is_about_the_data, readable)):
        readable = [path for path in readable if not _is_about_the_data(path)]
    aside = [str(path.relative_to(folder)) for path in paths if path not in set(readable)]
    sources = []
    for path in readable:
        name = kinds.shown(str(path.relative_to(folder)))
        if path.stat().st_size:
            sources.append(Source(path.resolve(), name))
        else:
            aside.append(f"{name} (empty)")
    if not sources:
        held = f"only {_few(aside)}" if aside else "no files"
        raise DataError(
            f"The folder {kinds.shown(folder.name)} holds {held}; choose one with {kinds.READABLE} files that have rows."
        )
    if aside:
        sources[0].notes.append(f"left aside in the folder {kinds.shown(folder.name)}: {_few(aside)}")
    return sources


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(map(kinds.shown, names[:5])) + more


def _is_about_the_data(path: Path) -> bool:
    return kinds.kind_by_name(path.name) == "txt" and path.name.lower().startswith(_ABOUT_THE_DATA)


def _walk(folder: Path) -> list[Path]:
    """All files below a folder that are not hidden. A link that leads back up is followed once."""
    seen, found = set(), []

    def refuse(error: OSError) -> None:
        raise DataError(f"The folder {kinds.shown(str(error.filename))} cannot be read: {error.strerror}.") from None

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [path for name in names if not name.startswith(".") and (path := Path(place, name)).is_file()]
        if len(found) > MAX_IN_FOLDER:
            raise DataError(
                f"The folder {kinds.shown(folder.name)} holds more than {MAX_IN_FOLDER:,} files; choose a smaller one."
            )
    return sorted(found)
