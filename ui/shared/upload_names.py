"""Uploaded files by their own names, in fields whose values are the paths where they were put.

/…/runs/uploads/3f9a2c81…/reviews.csv      reviews.csv (upload 3f9a2c81)
"""

import re
from pathlib import Path

from core.problems import tr

DIGITS = 8  # of the folder's name, a hash of the content: enough to tell two uploads of a name apart
_UPLOAD = tr("upload")
# A browser may have kept names in the other language.
_SHOWN = re.compile(rf"\s*(.+) \((?:upload|{re.escape(_UPLOAD)}) ([0-9a-f]{{{DIGITS}}})\)\s*")


def with_names(paths: str, uploads: Path) -> str:
    """Paths, one per line, with those of files in the folder `uploads` as names."""
    return "\n".join(_name(line, uploads) for line in paths.splitlines())


def with_paths(names: str, uploads: Path) -> str:
    """The inverse of `with_names`; the name of an upload that is not there any more stays as it is."""
    return "\n".join(_path(line, uploads) for line in names.splitlines())


def _name(line: str, uploads: Path) -> str:
    path = Path(line.strip())
    is_upload = path.is_absolute() and path.parent.parent == uploads.resolve()
    digits = path.parent.name[:DIGITS]
    return f"{path.name} ({_UPLOAD} {digits})" if is_upload and re.fullmatch("[0-9a-f]+", digits) else line


def _path(line: str, uploads: Path) -> str:
    found = _SHOWN.fullmatch(line)
    if found is None or Path(found[1]).name != found[1]:
        return line
    places = (folder / found[1] for folder in sorted(uploads.resolve().glob(f"{found[2]}*")))
    return next((str(place) for place in places if place.is_file()), line)
