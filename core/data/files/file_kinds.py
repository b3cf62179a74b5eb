"""What kind a file is, by its name and how it begins, and the errors for files that have no rows."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Literal

from core.problems import DataError, mark

Kind = Literal["csv", "tsv", "json", "jsonl", "parquet", "txt"]
KIND_OF_SUFFIX: dict[str, Kind] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".txt": "txt", ".text": "txt", ".md": "txt",
}  # fmt: skip
COMPRESSED_SUFFIXES = (".gz", ".bz2")
NAMES: dict[str, str] = {
    "csv": "CSV", "tsv": "TSV", "json": "JSON", "jsonl": mark("JSON lines"), "parquet": "Parquet",
    "txt": mark("text"),
}  # fmt: skip

# Why a file is refused: templates, each with the way out.
EXCEL = mark("{file} is an Excel file; save the sheet as CSV UTF-8, and choose that file.")
OLD_OFFICE = mark("{file} is an old Excel or Word file; save it as CSV UTF-8, and choose that file.")
SHEET = mark("{file} is a spreadsheet; save the sheet as CSV in UTF-8, and choose that file.")
ZIP = mark("{file} is a zip file; unpack it and choose the files in it.")
ARCHIVE = mark("{file} is an archive; unpack it and choose the files in it.")
DOCUMENT = mark("{file} is a document, not plain text; save its text as .txt, and choose that file.")
PICKLE = mark(
    "{file} is a pickle, which can run any code when opened, so it is never read; save its rows as JSONL or CSV."
)
WEIGHTS = mark("{file} contains binary data, such as weights, not rows; choose the file with the rows.")
ARROW = mark("{file} is an Arrow or NumPy file; save its rows as Parquet or JSONL, and choose that file.")
DATABASE = mark("{file} is a database; export the table as CSV, and choose that file.")
WEB_PAGE = mark("{file} is a web page, not the file itself; download the file again, using its raw or download link.")
GIT_LFS = mark("{file} is a git-lfs pointer, not the file itself; fetch the file with git lfs pull.")
NOT_TEXT = mark("{file} is not text; choose a CSV, TSV, JSON, JSONL, Parquet or text file.")
EMPTY = mark("{file} is empty; choose a file with rows in it.")

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
_REFUSED_STARTS = (  # magic numbers
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLD_OFFICE),
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


def kind_by_name(name: str) -> Kind | None:
    """The kind by the suffix, in upper or lower case; .gz or .bz2 after it is ignored."""
    return KIND_OF_SUFFIX.get(_suffix(name))


def is_file_by_name(name: str) -> bool:
    """Whether the suffix is one of a file with rows, or of a file that people mistake for one."""
    return _suffix(name) in KIND_OF_SUFFIX or _suffix(name) in _REFUSED_SUFFIXES or is_compressed_by_name(name)


def is_compressed_by_name(name: str) -> bool:
    return name.lower().endswith(COMPRESSED_SUFFIXES)


def empty(shown_name: str) -> DataError:
    return DataError(EMPTY, file=shown_name)


def _suffix(name: str) -> str:
    name = name.lower()
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return Path(name).suffix


def compression(start: bytes) -> Literal["", "gz", "bz2"]:
    """How a file that begins with these bytes is compressed; empty if it is not."""
    if start.startswith(b"\x1f\x8b"):
        return "gz"
    return "bz2" if re.match(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", start) else ""


def refuse_by_name(name: str, shown_name: str) -> None:
    """Raises DataError if the name is that of a file without rows."""
    reason = _REFUSED_SUFFIXES.get(_suffix(name))
    if reason and _suffix(name) not in KIND_OF_SUFFIX:
        raise DataError(reason, file=shown_name)


def refuse_by_start(head: bytes, shown_name: str, path: Path | None) -> None:
    """Raises DataError if a file with rows cannot begin like this.

    `path` is the file that begins so; None if these are the decompressed bytes of another.
    """
    if head.startswith(b"PK\x03\x04"):
        raise DataError(_zip_reason(head, path), file=shown_name)
    if head[257:262] == b"ustar":
        raise DataError(ARCHIVE, file=shown_name)
    if _PICKLE.match(head):
        raise DataError(PICKLE, file=shown_name)
    for start, reason in _REFUSED_STARTS:
        if head.startswith(start):
            raise DataError(reason, file=shown_name)


def _zip_reason(head: bytes, path: Path | None) -> str:
    """Which kind of zip file it is: Office files are zip files with certain folders."""
    try:
        with zipfile.ZipFile(path or io.BytesIO(head)) as archive:
            inside = " ".join(archive.namelist())
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
    ):  # incomplete
        # Its beginning still names some of the files.
        inside = head.decode("latin-1")
    if "xl/" in inside or (path is not None and path.suffix.lower() in (".xlsx", ".xlsm", ".xlsb")):
        return EXCEL
    if "word/" in inside:
        return DOCUMENT
    return SHEET if b"opendocument.spreadsheet" in head else ZIP


def refuse_text(text: str, is_whole: bool, kind: Kind | None, shown_name: str) -> None:
    """Raises DataError for a text without rows, by its beginning, or by all of it if `is_whole`."""
    if not text.strip("\ufeff \t\r\n\v\f") and is_whole:
        raise empty(shown_name)
    if kind != "txt" and _WEB_PAGE.match(text):
        raise DataError(WEB_PAGE, file=shown_name)
    sample = text[:65536].encode("utf-8", "replace")
    if len(sample) >= 64 and len(sample) - len(sample.translate(None, _CONTROL)) > len(sample) / 20:
        raise DataError(NOT_TEXT, file=shown_name)


def kind_by_text(text: str, kind: Kind | None, is_chosen_text: bool = False) -> Kind | None:
    """The kind by the text, which may correct `kind`, the one by the name; None if unknown.

    `is_chosen_text`: the person chose how to split a text file into rows, so a text file is not read as anything else.
    """
    lines = [line for line in text[:1_000_000].splitlines() if line.strip()][:2]
    first = text.lstrip("\ufeff \t\r\n")[:200]
    if kind == "json":
        is_lines = len(lines) == 2 and _is_object(lines[0]) and lines[1].lstrip()[:1] == "{"
        return "jsonl" if is_lines else "json"
    if kind == "jsonl":
        return "json" if first[:1] == "[" else "jsonl"
    if kind == "txt" and is_chosen_text:
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
