"""One pass over one source: rows are rendered, tokenised and written down a thousand at a time, or left out.

Knows nothing of models, threads or gradio.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.columns.field_values import special_token_in, special_tokens_of
from core.data.columns.recognise import recognise
from core.data.files.open_files import FileRows
from core.data.hub.hub_rows import HubRows
from core.data.prepared.examples_on_disk import StoreWriter, ids_hash, text_hash
from core.data.prepared.left_out import LeftOutWriter, NothingLeftError
from core.data.prepared.prepared_data import Found
from core.data.prepared.render import render
from core.data.prepared.tokens import Rendered, tokenise
from core.data.rows import Row
from core.problems import DataError, TemplateError
from core.settings.sections import DataConfig
from core.stopping import ShouldStop, leave_if

Report = Callable[[float | None, int], None]  # how far (0 to 1, None when unknown) and how many rows
HEAD_ROWS = 200  # the shape is judged by these
BATCH_ROWS, BATCH_CHARACTERS = 1000, 1_000_000  # whichever is reached first
LONGEST = 10_000_000  # characters: tokenising more at once takes gigabytes
LANGUAGE_SAMPLES = 300
PLACEHOLDER = re.compile(r"\{\{\s*[\w.]+\s*\}\}")


class Pass:
    """Everything that stays the same from row to row."""

    def __init__(
        self,
        config: DataConfig,
        tokenizer,
        max_seq_length: int,
        completion_only_loss: bool,
        end_ids: frozenset[int],
        should_stop: ShouldStop,
        report: Report,
    ):
        self.config, self.tokenizer, self.length = config, tokenizer, max_seq_length
        self.completion_only_loss, self.end_ids = completion_only_loss, end_ids
        self.should_stop, self.report = should_stop, report
        self.special_tokens = special_tokens_of(tokenizer)

    def read(self, rows: FileRows | HubRows, folder: Path, name: str, limit: int | None) -> Found:
        """One source, from its first row to its last. Raises DataError and Stopped."""
        found = Found(recognise(readable_head(rows), self.config), ())
        found.samples, seen, luck = [], set(), random.Random(0)
        store, left_out = StoreWriter(folder / f"{name}.arrow"), LeftOutWriter(folder / f"{name}-left-out.csv")
        try:
            for batch in _batches(rows if limit is None else _first(rows, limit)):
                leave_if(self.should_stop)
                found.rows += len(batch)
                self._take(batch, found, store, left_out, seen, luck, rows.wants_splitting)
                self.report(rows.share if limit is None else None, found.rows)
        finally:
            store.close()
            left_out.close()
        found.notes = tuple(rows.notes)
        found.left_out, found.examples = left_out.finish(found.rows), store.finish()
        if not len(found.examples):
            raise NothingLeftError(found.left_out)
        return found

    def _take(self, batch: list[Row], found: Found, store, left_out, seen: set[int], luck, splits: bool) -> None:
        rendered: list[tuple[Row, Rendered]] = []
        for row in batch:
            reason, pieces = row.fault, []
            if not reason:
                try:
                    pieces = render(row.values, found.shape, self.config, self.tokenizer)
                except TemplateError as error:
                    reason = str(error)
                except RecursionError:
                    reason = "nested too deeply"
            ready = Rendered(row.number, pieces)
            reason = reason or _unusable(ready.text)
            if not reason and self.config.drop_duplicates:
                key = text_hash(ready.text)
                reason = "the same text as an earlier row" if key in seen else ""
                seen.add(key)
            if reason:
                left_out.add(row, reason)
                continue
            rendered.append((row, ready))
            if token := special_token_in(row.values, self.special_tokens):
                found.special_rows += 1
                found.special_token = found.special_token or token
        if rendered:
            self._tokenise(rendered, found, store, left_out, luck, splits and found.shape.name == "text")

    def _tokenise(
        self, rendered: list[tuple[Row, Rendered]], found: Found, store, left_out, luck, splits: bool
    ) -> None:
        lists = tokenise([r for _, r in rendered], self.tokenizer, self.length, self.completion_only_loss, splits)
        examples, hashes, ends, unfilled = [], [], [], []
        for (row, ready), parts in zip(rendered, lists, strict=True):
            useful = [part for part in parts if part.trained]
            if not useful:
                left_out.add(row, f"the answer begins after {self.length} tokens" if parts else "no text")
                continue
            learned = "".join(text for text, trained in ready.pieces if trained or not self.completion_only_loss)
            placeholder = PLACEHOLDER.search(learned)
            found.placeholder = found.placeholder or (placeholder.group() if placeholder else "")
            examples += useful
            hashes += [text_hash(ready.text)] if len(parts) == 1 else [ids_hash(part.input_ids) for part in useful]
            # A file in several parts goes on in the next; only the last of them has to end.
            ends += [part is not parts[-1] or part.end_id(self.end_ids) is not None for part in useful]
            unfilled += [placeholder is not None] * len(useful)
            found.is_split = found.is_split or len(parts) > 1
            _sample(found.samples, learned, row.number, luck)
        if examples:
            store.add(examples, hashes, ends, unfilled)


def readable_head(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The values of the first rows, by which a set is judged. Raises DataError when none of them can be read."""
    head = list(_first(rows, HEAD_ROWS))
    readable = [row.values for row in head if not row.fault]
    if head and not readable:
        fault, count = Counter(row.fault for row in head).most_common(1)[0]
        raise DataError(f"None of the first {len(head)} rows can be read; {count} times the reason is: {fault}.")
    return readable


def _first(rows: Iterable[Row], limit: int):
    """At most so many rows, and no more of them than are tokenised at once: a preview must be there at once."""
    characters = 0
    for row in islice(rows, limit):
        yield row
        characters += _size(row)
        if characters >= BATCH_CHARACTERS:
            return


def _size(row: Row) -> int:
    """Characters of all its texts, however deep they stand."""
    total, values = 0, list(row.values.values())
    while values:
        value = values.pop()
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
    return total


def _batches(rows: Iterable[Row]):
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += _size(row)
        if len(batch) == BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _unusable(text: str) -> str:
    """Why no tokenizer can take the text; empty when it can."""
    if len(text) > LONGEST:
        return f"longer than {LONGEST:,} characters"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half a character (a lone surrogate)"
    return ""


def _sample(samples: list[str], text: str, number: int, luck: random.Random) -> None:
    """Keeps each text with equal chance, whatever comes later (Vitter's algorithm R, 1985)."""
    if len(samples) < LANGUAGE_SAMPLES:
        samples.append(text[:2000])
    elif (place := luck.randrange(number)) < LANGUAGE_SAMPLES:
        samples[place] = text[:2000]
