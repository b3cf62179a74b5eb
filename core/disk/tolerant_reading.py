"""Files as a person, a crash or another program may have left them: read, or refused in words. Knows nothing of them."""

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 100_000_000  # far above any file that is read whole


class Unreadable(ValueError):
    """The message is half a sentence that says why, such as "the file is missing"."""


def read_text(file: Path) -> str:
    """The text of a file in UTF-8. Raises Unreadable."""
    try:
        if not file.exists():
            raise Unreadable("the file is missing")
        if not file.is_file():  # to open a pipe would be to wait for ever
            raise Unreadable("it is no file")
        if file.stat().st_size > MOST_BYTES:
            raise Unreadable("it is too large")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable(in_words(error)) from None
    except UnicodeDecodeError:
        raise Unreadable("it is no text in UTF-8") from None


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises Unreadable."""
    text = read_text(file)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("it is cut off, or no JSON") from None
    if not isinstance(found, dict):
        raise Unreadable("it holds something else than named values")
    return found


def in_words(error: OSError) -> str:
    """What the system says of a file, without its number and its path."""
    said = error.strerror or "the system refuses it"
    return said[:1].lower() + said[1:]
