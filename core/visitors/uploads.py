"""Who uploaded which file, and whether it may be read."""

import threading
from collections.abc import Iterable
from pathlib import Path

from core.data.display import for_display
from core.problems import NotAllowed
from core.visitors.policy import Policy

_COMPRESSED = (b"\x1f\x8b", b"BZh")  # gzip and bzip2: a small file can become a huge one
_PARQUET = b"PAR1"


class Uploads:
    """The uploads of all visitors, as long as the program runs. The same file can belong to several of them."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self._owners: dict[Path, set[str]] = {}
        self._lock = threading.Lock()

    def add(self, visitor: str, paths: Iterable[str]) -> None:
        with self._lock:
            for path in paths:
                self._owners.setdefault(Path(path).resolve(), set()).add(visitor)

    def has(self, visitor: str, path: str) -> bool:
        """Whether the visitor uploaded this file."""
        with self._lock:
            return visitor in self._owners.get(Path(path).resolve(), ())

    def is_others(self, visitor: str, path: Path) -> bool:
        """Whether others uploaded this file, and the visitor did not."""
        with self._lock:
            owners = self._owners.get(path, ())
            return bool(owners) and visitor not in owners

    def forget_missing(self) -> None:
        """Forgets those that were deleted."""
        with self._lock:
            self._owners = {path: owners for path, owners in self._owners.items() if path.exists()}

    def check(self, visitor: str, path: str) -> None:
        """Raises NotAllowed when the visitor did not upload this file, or when it can hold far more than its size."""
        if not self.has(visitor, path):
            raise NotAllowed(
                "{path} cannot be read on this page; choose the rows of a preset, or upload a file.",
                path=for_display(path),
            )
        file = Path(path)
        try:
            with file.open("rb") as stream:
                start = stream.read(4)
        except OSError:
            raise NotAllowed("{file} is no longer here; upload it again.", file=for_display(file.name)) from None
        if start.startswith(_COMPRESSED):
            raise NotAllowed("{file} is compressed; unpack it, and upload that.", file=for_display(file.name))
        if start == _PARQUET and _rows_of(file) > self._policy.uploaded_rows:
            raise NotAllowed(
                "{file} has more than {most:,} rows; upload fewer.",
                file=for_display(file.name), most=self._policy.uploaded_rows,
            )  # fmt: skip


def _rows_of(file: Path) -> int:
    """Of a Parquet file; 0 for a damaged one, which is refused when it is read."""
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(file).num_rows
    except (pyarrow.ArrowException, OSError):
        return 0
