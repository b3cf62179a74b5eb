"""The files that a path names: files and folders, one a line. Knows nothing of what is in them."""

import os
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from core.data.files import file_kinds
from core.data.files.file_source import Source
from core.problems import DataError
from core.settings.paths import resolve_path

MAX_IN_FOLDER = 50_000
SHOWN = 5  # names in a note
_BLANK_BYTES = b" \t\r\n\v\f\0\xef\xbb\xbf\xff\xfe"  # white space and byte order marks, in any Unicode
_PROGRAMS_OWN = ("dataset_infos.json", "dataset_info.json", "state.json")  # which the libraries keep beside rows
_CHECKING = {"test", "tests", "testing", "valid", "validation", "val", "dev", "eval", "evaluation"}
# Beside files of rows these are about the data, not of it.
_ABOUT_THE_DATA = ("readme", "license", "licence", "changelog", "notice", "contributing", "citation")


def find(path: str) -> list[Source]:
    """The files that a path names: files or folders, one a line, each with a name that no other has.

    Quotes around a path and file:// before it are passed over. Raises DataError.
    """
    wanted = [line.strip() for line in path.splitlines() if line.strip()]
    if not wanted:
        raise DataError("Choose a file or a folder with rows in it.")
    found: dict[Path, Source] = {}
    places: dict[Path, Path] = {}  # where the person finds a file, which a link in a folder leads away from
    folders: list[list[Source]] = []
    for given in wanted:
        resolved = resolve_path(given) or resolve_path(_meant(given))
        if resolved is None:
            if "*" in given:
                raise DataError("Patterns such as *.jsonl are not read; name the folder instead.")
            raise DataError(
                f"There is no file {file_kinds.shown(given)}; check the path, or drop the file on the Data tab."
            )
        if resolved.is_dir():
            new = _in_folder(resolved)
        else:
            file_kinds.refuse_by_name(resolved.name, file_kinds.shown(resolved.name))
            new = {resolved: Source(resolved, file_kinds.shown(resolved.name))}
        for place, source in new.items():
            if source.path in found:
                found[source.path].notes.append("named more than once, read once")
            found.setdefault(source.path, source)
            places.setdefault(source.path, place)
        folders.append([found[source.path] for source in new.values()])
    _tell_apart(found, places)
    for sources in folders:
        if len(sources) > 1:
            sources[0].folder_notes += _what_is_read(sources)
    return list(found.values())


def _meant(given: str) -> str:
    """A path as it was before it was copied: without quotes around it, or from the address of a file."""
    if len(given) > 1 and given[0] == given[-1] and given[0] in "\"'":
        given = given[1:-1].strip()
    if not given.lower().startswith("file://"):
        return given
    path = unquote(given[len("file://") :].removeprefix("localhost"))
    return re.sub(r"^/(?=[A-Za-z]:[/\\])", "", path)  # file:///C:/rows.csv


def _tell_apart(found: dict[Path, Source], places: dict[Path, Path]) -> None:
    """Gives files of the same name the folder in front of it, and the one above, until they differ."""
    depths = {path: source.name.count("/") + 1 for path, source in found.items()}
    while True:
        counts = Counter(source.name for source in found.values())
        alike = [path for path, source in found.items() if counts[source.name] > 1]
        alike = [path for path in alike if depths[path] < len(places[path].parts) - 1]
        if not alike:
            return
        for path in alike:
            depths[path] += 1
            found[path].name = file_kinds.shown("/".join(places[path].parts[-depths[path] :]))


def _what_is_read(sources: list[Source]) -> list[str]:
    """Notes on the several files of a folder."""
    names = [source.name for source in sources]
    notes = [f"{len(names):,} files: {_few(names)}"]
    to_check = [name for name in names if _CHECKING & set(re.split(r"[^a-z]+", name.lower()))]
    if 0 < len(to_check) < len(names):
        look, it = ("looks", "it") if len(to_check) == 1 else ("look", "one")
        what = f"which {look} like rows to check with: give {it} as validation file instead"
        notes.append(f"among them {_few(to_check)}, {what}")
    return notes


def _in_folder(folder: Path) -> dict[Path, Source]:
    """All files of rows in a folder and below it, by name; the first has a note of what was left aside."""
    paths = _walk(folder)
    readable = [path for path in paths if file_kinds.kind_by_name(path.name) and path.name.lower() not in _PROGRAMS_OWN]
    if not all(map(_is_about_the_data, readable)):
        readable = [path for path in readable if not _is_about_the_data(path)]
    chosen = set(readable)
    aside = [str(path.relative_to(folder)) for path in paths if path not in chosen]
    sources: dict[Path, Source] = {}
    for path in readable:
        name = file_kinds.shown(path.relative_to(folder).as_posix())
        if _is_blank(path):
            aside.append(f"{name} (empty)")
        else:
            sources[path] = Source(path.resolve(), name)
    if not sources:
        held = f"only {_few(aside)}" if aside else "no files"
        raise DataError(
            f"The folder {file_kinds.shown(folder.name)} holds {held}; choose one with {file_kinds.READABLE} files that have rows."
        )
    if aside:
        first = next(iter(sources.values()))
        first.notes.append(f"left aside in the folder {file_kinds.shown(folder.name)}: {_few(aside)}")
    return sources


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(file_kinds.shown, names[:SHOWN])) + more


def _is_blank(path: Path) -> bool:
    """Whether there is nothing but white space in the file."""
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 16):
                if block.strip(_BLANK_BYTES):
                    return False
    except OSError:  # told when it is read
        return False
    return True


def _is_about_the_data(path: Path) -> bool:
    return file_kinds.kind_by_name(path.name) == "txt" and path.name.lower().startswith(_ABOUT_THE_DATA)


def _walk(folder: Path) -> list[Path]:
    """All files below a folder that are not hidden. A link that leads back up is followed once."""
    seen, found = set(), []

    def refuse(error: OSError) -> None:
        raise DataError(
            f"The folder {file_kinds.shown(str(error.filename))} cannot be read: {error.strerror}."
        ) from None

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
                f"The folder {file_kinds.shown(folder.name)} holds more than {MAX_IN_FOLDER:,} files; choose a smaller one."
            )
    return sorted(found)
