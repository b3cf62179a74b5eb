"""Rows of Parquet files, read in batches."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from core.data.display import for_display
from core.data.files.csv_layout import check_width, names_of
from core.data.files.file_source import Source
from core.data.rows import Row
from core.problems import DataError, first_line, tr

if TYPE_CHECKING:  # importing pyarrow is slow, and the page should not wait for it
    import pyarrow.parquet

BATCH_ROWS = 1000


def check_parquet(source: Source) -> None:
    """Raises DataError if the file is not Parquet or its end is missing."""
    with source.open_bytes() as stream, _opened(source, stream):
        pass


def read_parquet(source: Source, number: int) -> Iterator[Row]:
    """The rows, with binary columns read as UTF-8. A row with a value that cannot be read has a fault."""
    in_file = 0
    with source.open_bytes() as stream, _opened(source, stream) as file:
        total = max(file.metadata.num_rows, 1)
        check_width(len(file.schema_arrow.names), source.name)
        names = names_of(file.schema_arrow.names)
        binary = [name for name, type_ in zip(names, file.schema_arrow.types, strict=True) if "binary" in str(type_)]
        for batch in _batches(file, source):
            for values, fault in _rows(batch.rename_columns(names)):
                in_file += 1
                fault = _decode(values, binary) or fault
                place = tr("row {row} of {file}", row=in_file, file=source.name)
                yield Row(number + in_file, place, values, fault)
            source.at = int(source.size * in_file / total)


@contextmanager
def _opened(source: Source, stream) -> "Iterator[pyarrow.parquet.ParquetFile]":
    import pyarrow.parquet

    with tempfile.TemporaryFile() as decompressed:
        if source.compression:  # Parquet is read from its end, which needs a real file
            shutil.copyfileobj(stream, decompressed)
            decompressed.seek(0)
        try:
            file = pyarrow.parquet.ParquetFile(decompressed if source.compression else source.path, pre_buffer=False)
        except (pyarrow.ArrowException, OSError) as error:
            raise _refusal(source, error) from None
        with file:
            yield file


def _batches(file: "pyarrow.parquet.ParquetFile", source: Source) -> "Iterator[pyarrow.RecordBatch]":
    import pyarrow

    try:
        yield from file.iter_batches(BATCH_ROWS, use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise _refusal(source, error) from None


def _refusal(source: Source, error: Exception) -> DataError:
    return DataError(
        "{file} is not a Parquet file, or it is damaged or incomplete ({reason}); download or save it again.",
        file=source.name,
        reason=first_line(error),
    )


def _rows(batch: "pyarrow.RecordBatch") -> Iterator[tuple[dict[str, Any], str]]:
    try:
        yield from ((values, "") for values in batch.to_pylist())
    except (ValueError, OverflowError):  # one bad value fails the whole batch: read it row by row
        for at in range(batch.num_rows):
            try:
                yield batch.slice(at, 1).to_pylist()[0], ""
            except (ValueError, OverflowError) as error:
                is_text = isinstance(error, UnicodeDecodeError)
                yield {}, tr("text that is not UTF-8") if is_text else tr("a value out of range")


def _decode(values: dict[str, Any], columns: list[str]) -> str:
    """Decodes the bytes in these columns; returns the fault if that fails, otherwise an empty text."""
    fault = ""
    for name in columns:
        if isinstance(value := values.get(name), bytes):
            try:
                values[name] = value.decode()
            except UnicodeDecodeError:
                values[name] = value.decode(errors="replace")
                fault = fault or tr("bytes that are not text in the column {column}", column=for_display(name))
    return fault
