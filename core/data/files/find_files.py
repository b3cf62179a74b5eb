"""The files that a path names. A path is one or more files and folders, one per line."""

import os
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from core.data.display import first_names, for_display
from core.data.files import file_kinds
from core.data.files.file_source import Source
from core.problems import DataError, tr, trn
from core.settings.paths import resolve_path

MAX_IN_FOLDER = 50_000
MAX_NAMED_FILES = 5  # in a note
_BLANK_BYTES = b" \t\r\n\v\f\0\xef\xbb\xbf\xff\xfe"  # white space and byte order marks, in any Unicode encoding
_LIBRARY_FILES = ("dataset_infos.json", "dataset_info.json", "state.json")  # which `datasets` saves next to rows
_VALIDATION_WORDS = {"test", "tests", "testing", "valid", "validation", "val", "dev", "eval", "evaluation"}
# Text files that describe the data, if there are other files.
_DOCUMENTATION = ("readme", "license", "licence", "changelog", "notice", "contributing", "citation")


def find(path: str) -> list[Source]:
    """The files that a path names: files or folders, one per line. Each source gets a name that no other has.

    Quotes around a path and file:// before it are ignored. Raises DataError for a file or folder that cannot be used.
    """
    wanted = [line.strip() for line in path.splitlines() if line.strip()]
    if not wanted:
        raise DataError("Choose a file or a folder with rows in it.")
    found: dict[Path, Source] = {}
    places: dict[Path, Path] = {}  # the path as the person sees it, which is another one if it is a link
    folders: list[list[Source]] = []
    for given in wanted:
        resolved = resolve_path(given) or resolve_path(_without_quotes_and_scheme(given))
        if resolved is None:
            raise _not_there(given)
        if resolved.is_dir():
            new = _in_folder(resolved)
        else:
            file_kinds.refuse_by_name(resolved.name, for_display(resolved.name))
            new = {resolved: Source(resolved, for_display(resolved.name))}
        for place, source in new.items():
            if source.path in found:
                found[source.path].notes.append(tr("named more than once, read once"))
            found.setdefault(source.path, source)
            places.setdefault(source.path, place)
        folders.append([found[source.path] for source in new.values()])
    _make_names_unique(found, places)
    for sources in folders:
        if len(sources) > 1:
            sources[0].folder_notes += _folder_notes(sources)
    return list(found.values())


def _not_there(given: str) -> DataError:
    """Why nothing is found at a path."""
    if "*" in given:
        return DataError("Patterns such as *.jsonl are not supported; choose the folder instead.")
    try:
        os.stat(os.path.expanduser(_without_quotes_and_scheme(given)))
    except PermissionError as error:
        return _unreadable(given, error)
    except (OSError, ValueError):  # too long, or with a null byte: cannot be a path
        pass
    return DataError(
        "There is no file {file}; check the path, or drop the file on the Data tab.", file=for_display(given)
    )


def _without_quotes_and_scheme(given: str) -> str:
    """The plain path, without the quotes or the file:// that it got when it was copied."""
    if len(given) > 1 and given[0] == given[-1] and given[0] in "\"'":
        given = given[1:-1].strip()
    if not given.lower().startswith("file://"):
        return given
    path = unquote(given[len("file://") :].removeprefix("localhost"))
    return re.sub(r"^/(?=[A-Za-z]:[/\\])", "", path)  # file:///C:/rows.csv


def _make_names_unique(found: dict[Path, Source], places: dict[Path, Path]) -> None:
    """Puts parent folders in front of equal names until they differ."""
    depths = {path: source.name.count("/") + 1 for path, source in found.items()}
    while True:
        counts = Counter(source.name for source in found.values())
        alike = [path for path, source in found.items() if counts[source.name] > 1]
        alike = [path for path in alike if depths[path] < len(places[path].parts) - 1]
        if not alike:
            return
        for path in alike:
            depths[path] += 1
            found[path].name = for_display("/".join(places[path].parts[-depths[path] :]))


def _folder_notes(sources: list[Source]) -> list[str]:
    """Notes about a folder with several files."""
    names = [source.name for source in sources]
    listed = first_names(names, MAX_NAMED_FILES)
    notes = [trn("{count:,} file: {names}", "{count:,} files: {names}", len(names), names=listed)]
    validation = [name for name in names if _VALIDATION_WORDS & set(re.split(r"[^a-z]+", name.lower()))]
    if 0 < len(validation) < len(names):
        advice = trn(
            "{names} looks like validation rows; choose the folder's other files, and this as validation file",
            "{names} look like validation rows; choose the folder's other files, and this as validation file",
            len(validation),
            names=first_names(validation, MAX_NAMED_FILES),
        )
        notes.append(advice)
    return notes


def _in_folder(folder: Path) -> dict[Path, Source]:
    """The files with rows in a folder and below it, by name; the first gets a note about the files that are skipped."""
    paths = _walk(folder)
    readable = [
        path for path in paths if file_kinds.kind_by_name(path.name) and path.name.lower() not in _LIBRARY_FILES
    ]
    if not all(map(_is_documentation, readable)):
        readable = [path for path in readable if not _is_documentation(path)]
    chosen = set(readable)
    skipped = [str(path.relative_to(folder)) for path in paths if path not in chosen]
    sources: dict[Path, Source] = {}
    for path in readable:
        name = for_display(path.relative_to(folder).as_posix())
        if _is_blank(path):
            skipped.append(tr("{file} (empty)", file=name))
        else:
            sources[path] = Source(path.resolve(), name)
    if not sources:
        raise _no_rows_in(folder, skipped)
    if skipped:
        first = next(iter(sources.values()))
        names = first_names(skipped, MAX_NAMED_FILES)
        first.notes.append(tr("skipped in the folder {folder}: {names}", folder=for_display(folder.name), names=names))
    return sources


def _no_rows_in(folder: Path, skipped: list[str]) -> DataError:
    if not skipped:
        return DataError(
            "The folder {folder} has no files; choose one with CSV, TSV, JSON, JSONL, Parquet or text files.",
            folder=for_display(folder.name),
        )
    return DataError(
        "The folder {folder} has no rows, only {files}; choose one with CSV, TSV, JSON, JSONL, Parquet or text files.",
        folder=for_display(folder.name),
        files=first_names(skipped, MAX_NAMED_FILES),
    )


def _is_blank(path: Path) -> bool:
    """Whether the file contains only white space."""
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 16):
                if block.strip(_BLANK_BYTES):
                    return False
    except OSError:  # reported when it is read
        return False
    return True


def _is_documentation(path: Path) -> bool:
    return file_kinds.kind_by_name(path.name) == "txt" and path.name.lower().startswith(_DOCUMENTATION)


def _walk(folder: Path) -> list[Path]:
    """All files in a folder and below it that are not hidden. Links that lead in a circle are followed once."""
    seen, found = set(), []

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # it is gone meanwhile
            raise _unreadable(str(error.filename), error) from None

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [path for name in sorted(names) if not name.startswith(".") and _is_file(path := Path(place, name))]
        if len(found) > MAX_IN_FOLDER:
            raise DataError(
                "The folder {folder} has more than {limit:,} files; choose a smaller one.",
                folder=for_display(folder.name),
                limit=MAX_IN_FOLDER,
            )
    return sorted(found)


def _is_file(path: Path) -> bool:
    """Whether it is a regular file. Raises DataError if the system does not say."""
    try:
        return path.is_file()
    except OSError as error:  # for example what other people's programs have open, in /proc
        raise _unreadable(str(path), error) from None


def _unreadable(place: str, error: OSError) -> DataError:
    return DataError(
        "{place} cannot be read ({reason}); check its permissions, or choose another file or folder.",
        place=for_display(place),
        reason=error.strerror,
    )
