"""What kind of file something is, by its name and by how it begins, and the sentence for what is no file of rows.

Knows nothing of how files are opened and of how their rows are read.
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Literal

from core.problems import DataError

Kind = Literal["csv", "tsv", "json", "jsonl", "parquet", "txt"]
KIND_OF_SUFFIX: dict[str, Kind] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".txt": "txt", ".text": "txt", ".md": "txt",
}  # fmt: skip
PACKED_SUFFIXES = (".gz", ".bz2")
READABLE = "CSV, TSV, JSON, JSONL, Parquet or text"
NAMES: dict[str, str] = {
    "csv": "CSV", "tsv": "TSV", "json": "JSON", "jsonl": "JSON lines", "parquet": "Parquet", "txt": "text",
}  # fmt: skip

EXCEL = "is an Excel file; save the sheet as CSV UTF-8 there, and choose that"
SHEET = "is a spreadsheet; save the sheet as CSV in UTF-8 there, and choose that"
ZIP = "is a zip file; unpack it and choose the files in it"
ARCHIVE = "is a packed archive; unpack it and choose the files in it"
DOCUMENT = "is a document, not plain text; save its text as .txt, and choose that"
PICKLE = "is a pickle, which could run any code when it is opened and so is never read; save its rows as JSONL or CSV"
WEIGHTS = "holds numbers of a program, such as weights, not rows; choose the file with the rows"
ARROW = "is an Arrow or NumPy file; save its rows as Parquet or JSONL, and choose that"
DATABASE = "is a database; export the table as CSV, and choose that"
WEB_PAGE = "is a page of the web, not the file itself; download the file again, by its raw or download link"
GIT_LFS = "is a pointer of git-lfs, not the file itself; fetch it with git lfs pull"
NOT_TEXT = f"is not text; choose a file that is {READABLE}"

_REFUSED_SUFFIXES = {
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".xlsb"), EXCEL),
    **dict.fromkeys((".ods", ".numbers"), SHEET),
    ".zip": ZIP,
    **dict.fromkeys((".7z", ".rar", ".tar", ".tgz", ".tbz", ".xz", ".zst"), ARCHIVE),
    **dict.fromkeys((".pdf", ".doc", ".docx", ".odt", ".rtf", ".epub"), DOCUMENT),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), PICKLE),
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".gguf", ".onnx", ".h5"), WEIGHTS),
    **dict.fromkeys((".arrow", ".feather", ".npy", ".npz"), ARROW),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), DATABASE),
    **dict.fromkeys((".html", ".htm"), WEB_PAGE),
}
_REFUSED_STARTS = (
    (b"version https://git-lfs.github.com/spec", GIT_LFS),
    (b"%PDF-", DOCUMENT),
    (b"{\\rtf", DOCUMENT),
    (b"ARROW1", ARROW),
    (b"\x93NUMPY", ARROW),
    (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (b"Rar!\x1a\x07", ARCHIVE),
    (b"\xfd7zXZ\x00", ARCHIVE),
    (b"\x28\xb5\x2f\xfd", ARCHIVE),
    (b"SQLite format 3\x00", DATABASE),
    (b"\x89PNG\r\n\x1a\n", NOT_TEXT),
    (b"\xff\xd8\xff\xe0", NOT_TEXT),
    (b"GGUF", WEIGHTS),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05](\x95|[}\]c(])")
_WEB_PAGE = re.compile(r"\s*(<!doctype html|<html)", re.IGNORECASE)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))


def shown(name: str) -> str:
    """A name for a sentence: on one line, of characters that can be shown, and not too long."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return name if len(name) <= 100 else f"{name[:60]}…{name[-30:]}"


def kind_by_name(name: str) -> Kind | None:
    """By the suffix, in any case; what follows it in the name of a packed file is passed over."""
    return KIND_OF_SUFFIX.get(_suffix(name))


def is_file_by_name(name: str) -> bool:
    """Whether the ending is one that files of rows have, or files that are taken for such."""
    return _suffix(name) in KIND_OF_SUFFIX or _suffix(name) in _REFUSED_SUFFIXES or is_packed_by_name(name)


def is_packed_by_name(name: str) -> bool:
    return name.lower().endswith(PACKED_SUFFIXES)


def empty(shown_name: str) -> DataError:
    return DataError(f"{shown_name} is empty, with nothing on line 1 or below; choose a file with rows in it.")


def _suffix(name: str) -> str:
    name = name.lower()
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    return Path(name).suffix


def packing(start: bytes) -> Literal["", "gz", "bz2"]:
    """How a file that begins so is packed."""
    if start.startswith(b"\x1f\x8b"):
        return "gz"
    return "bz2" if re.match(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", start) else ""


def refuse_by_name(name: str, shown_name: str) -> None:
    """Raises DataError for the names of files that hold no rows."""
    reason = _REFUSED_SUFFIXES.get(_suffix(name))
    if reason and _suffix(name) not in KIND_OF_SUFFIX:
        raise DataError(f"{shown_name} {reason}.")


def refuse_by_start(head: bytes, shown_name: str, path: Path | None) -> None:
    """Raises DataError for bytes that begin no file of rows. `path` is given where the bytes stand in a file as such."""
    if head.startswith(b"PK\x03\x04"):
        raise DataError(f"{shown_name} {_zip_reason(head, path)}.")
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        old = "is an old Excel or Word file; save it as CSV UTF-8 there, and choose that"
        raise DataError(f"{shown_name} {old}.")
    if head[257:262] == b"ustar":
        raise DataError(f"{shown_name} {ARCHIVE}.")
    if _PICKLE.match(head):
        raise DataError(f"{shown_name} {PICKLE}.")
    for start, reason in _REFUSED_STARTS:
        if head.startswith(start):
            raise DataError(f"{shown_name} {reason}.")


def _zip_reason(head: bytes, path: Path | None) -> str:
    """Office files are zip files of certain folders."""
    try:
        with zipfile.ZipFile(path or io.BytesIO(head)) as archive:
            inside = " ".join(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # cut off: its beginning names a few
        inside = head.decode("latin-1")
    if "xl/" in inside or (path is not None and path.suffix.lower() in (".xlsx", ".xlsm", ".xlsb")):
        return EXCEL
    if "word/" in inside:
        return DOCUMENT
    return SHEET if b"opendocument.spreadsheet" in head else ZIP


def refuse_text(text: str, is_whole: bool, kind: Kind | None, shown_name: str) -> None:
    """Raises DataError for a text that holds no rows, by its beginning or all of it."""
    if not text.strip("\ufeff \t\r\n\v\f") and is_whole:
        raise empty(shown_name)
    if kind != "txt" and _WEB_PAGE.match(text):
        raise DataError(f"{shown_name} {WEB_PAGE}.")
    sample = text[:65536].encode("utf-8", "replace")
    if len(sample) >= 64 and len(sample) - len(sample.translate(None, _CONTROL)) > len(sample) / 20:
        raise DataError(f"{shown_name} {NOT_TEXT}.")


def kind_by_text(text: str, kind: Kind | None, is_asked_as_text: bool = False) -> Kind | None:
    """What the text is, whatever the name says. `is_asked_as_text`: the person said how a text file is cut into rows."""
    lines = [line for line in text[:1_000_000].splitlines() if line.strip()][:2]
    first = text.lstrip("\ufeff \t\r\n")[:200]
    if kind == "json":
        is_lines = len(lines) == 2 and _is_object(lines[0]) and lines[1].lstrip()[:1] == "{"
        return "jsonl" if is_lines else "json"
    if kind == "jsonl":
        return "json" if first[:1] == "[" else "jsonl"
    if kind == "txt" and is_asked_as_text:
        return "txt"
    if lines and all(map(_is_object, lines)):
        return "jsonl"
    if re.match(r"\[\s*\{\s*[\"}]", first) or (kind is None and first[:1] in "[{"):
        return "json"
    return kind


def _is_object(line: str) -> bool:
    line = line.lstrip("\ufeff").strip()
    if line[:1] != "{":
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
