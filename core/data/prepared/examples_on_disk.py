"""Examples on disk: written in batches and read back by memory mapping, so that a million rows need little memory."""

import hashlib
import os
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, overload

import psutil

from core.data.prepared.tokens import Example

if TYPE_CHECKING:  # importing these takes seconds, and the page should not wait for them
    import datasets
    import numpy as np

FOLDER_PREFIX = "prepared-"
_OURS: set[str] = set()  # the names of the folders that this process has made
# One record per example: its row, its tokens before and after cutting, how many are trained on, whether it ends in a
# trained end mark, whether its text has an unfilled placeholder, and the hash of its text.
FIGURES = [
    ("row", "i8"),
    ("length", "i4"),
    ("kept", "i4"),
    ("trained", "i4"),
    ("ends", "?"),
    ("unfilled", "?"),
    ("hash", "u8"),
]


class Folder:
    """A new folder inside `parent` that is removed, with everything in it, when this object is no longer referenced.

    Its name contains the id of this process, so that `remove_left_behind` can find the folders of killed programs.
    """

    def __init__(self, parent: Path | None):
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=parent))
        _OURS.add(self.path.name)
        # Not TemporaryDirectory, which warns when it is not closed explicitly.
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def remove_left_behind(parent: Path) -> None:
    """Removes the folders of programs that no longer run."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if not owner.isdigit():
            continue
        # In a container each program has the same id, so a folder with ours may be from the one before.
        is_ours = int(owner) == os.getpid()
        if folder.name not in _OURS if is_ours else not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


class Examples(Sequence):
    """Examples of a store, in the order of their positions `at`. Indexing reads from disk; `figures` are in memory."""

    def __init__(self, dataset: "datasets.Dataset", figures: "np.ndarray", at: "np.ndarray"):
        self._dataset, self._all_figures, self.at = dataset, figures, at

    def __len__(self) -> int:
        return len(self.at)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [Example(**self._dataset[int(at)]) for at in self.at[index]]
        return Example(**self._dataset[int(self.at[index])])

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    @property
    def figures(self) -> "np.ndarray":
        """A structured array with one record of FIGURES for each example."""
        return self._all_figures[self.at]

    def pick(self, places: "np.ndarray") -> "Examples":
        """The examples at these positions, in this order."""
        return Examples(self._dataset, self._all_figures, self.at[places])

    def as_dataset(self, limit: int | None = None) -> "datasets.Dataset":
        """`input_ids` and `labels` of the first `limit` examples, in the form that the trainer needs."""
        return self._dataset.select_columns(["input_ids", "labels"]).select(self.at[:limit], keep_in_memory=True)


class StoreWriter:
    """Writes examples to the file `path`. Call `close`, then `finish` to read them."""

    def __init__(self, path: Path):
        import pyarrow as pa

        self._path = path
        ids = pa.list_(pa.int32())
        self._schema = pa.schema([("row", pa.int64()), ("input_ids", ids), ("labels", ids), ("cut_ids", ids)])
        self._file = pa.OSFile(str(path), "wb")
        self._stream = pa.ipc.new_stream(self._file, self._schema)
        self._figures: list[np.ndarray] = []

    def add(self, examples: list[Example], hashes: list[int], ends: list[bool], unfilled: list[bool]) -> None:
        """Appends examples; `hashes`, `ends` and `unfilled` are their values in FIGURES."""
        import numpy as np
        import pyarrow as pa

        columns = [pa.array([example.row for example in examples], pa.int64())]
        columns += [_lists([getattr(example, name) for example in examples]) for name in self._schema.names[1:]]
        self._stream.write_batch(pa.record_batch(columns, schema=self._schema))
        records = [
            (e.row, len(e.input_ids) + len(e.cut_ids), len(e.input_ids), e.trained, end, placeholder, key)
            for e, key, end, placeholder in zip(examples, hashes, ends, unfilled, strict=True)
        ]
        self._figures.append(np.array(records, dtype=FIGURES))

    def close(self) -> None:
        self._stream.close()
        self._file.close()

    def finish(self) -> Examples:
        """All examples in the order in which they were added. Call `close` first."""
        import datasets
        import numpy as np

        figures = np.concatenate(self._figures) if self._figures else np.empty(0, dtype=FIGURES)
        dataset = datasets.Dataset.from_file(str(self._path)) if len(figures) else None
        return Examples(dataset, figures, np.arange(len(figures)))


def text_hash(text: str) -> int:
    """A 64-bit hash of the text, for finding equal rows."""
    return _hash(text.encode("utf-8", "surrogatepass"))


def ids_hash(ids: list[int]) -> int:
    """A 64-bit hash of tokens, for finding equal parts of texts."""
    return _hash(array("i", ids).tobytes())


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _lists(values: list[list[int]]):
    """A pyarrow array of lists, made through numpy: ten times as fast as from Python lists."""
    import numpy as np
    import pyarrow as pa

    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    flat = np.fromiter(chain.from_iterable(values), dtype=np.int32, count=int(offsets[-1]))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
