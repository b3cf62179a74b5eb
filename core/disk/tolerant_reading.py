"""Reading files that a person, a crash or another program may have damaged.

Every function returns the content or raises `Unreadable`; none blocks on a pipe or reads a huge file into memory.
"""

import json
from pathlib import Path
from typing import Any

from core.problems import Problem, tr

MAX_BYTES = 100_000_000  # far more than any file that is read whole


class Unreadable(Problem):
    """Why a file cannot be read. The text is a clause to follow a colon, such as "the file is missing"."""


def read_text(file: Path) -> str:
    """The text of a UTF-8 file. Raises Unreadable."""
    try:
        if not file.exists():
            raise Unreadable("the file is missing")
        if not file.is_file():  # opening a pipe would block
            raise Unreadable("it is not a file")
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise Unreadable("it is too large ({size:,} bytes)", size=size)
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable("{reason}", reason=in_words(error)) from None
    except UnicodeDecodeError:
        raise Unreadable("it is not text in UTF-8") from None


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises Unreadable."""
    text = read_text(file)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("it is cut off or not JSON") from None
    if not isinstance(found, dict):
        raise Unreadable("it is not a JSON object")
    return found


def in_words(error: OSError) -> str:
    """What the operating system says about an error, without its number and the path, to follow a colon."""
    reason = error.strerror or str(error) or tr("the system refused it")
    return reason[:1].lower() + reason[1:]
