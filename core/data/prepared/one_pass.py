"""One pass over one source: its rows are rendered, tokenised and stored, or left out with a reason.

Rows are processed about a thousand at a time, so that a source of any size needs little memory.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.columns.field_values import special_token_in, special_tokens_of
from core.data.columns.recognise import recognise
from core.data.files.open_files import FileRows
from core.data.hub.hub_rows import HubRows
from core.data.prepared.examples_on_disk import StoreWriter, ids_hash, text_hash
from core.data.prepared.left_out import LeftOutWriter, NothingLeftError
from core.data.prepared.prepared_data import PassResult
from core.data.prepared.render import render
from core.data.prepared.same_answer import AnswerCounter
from core.data.prepared.tokens import Example, Rendered, tokenise
from core.data.prompts.fill_in import placeholders_in
from core.data.rows import TOO_DEEP, Row
from core.problems import DataError, TemplateError, mark, tr
from core.settings.sections import DataConfig
from core.threads import ShouldStop, leave_if

Report = Callable[[float | None, int], None]  # the progress (0 to 1, None if unknown) and the number of rows
HEAD_ROWS = 200  # the shape is judged by these
BATCH_ROWS, BATCH_CHARACTERS = 1000, 1_000_000  # a batch ends at whichever comes first
MAX_ROW_CHARACTERS = 10_000_000  # tokenising more at once takes gigabytes
PREVIEW_ROWS = 3
LANGUAGE_SAMPLES = 300
SAMPLE_CHARACTERS = 2000
NO_EMBEDDING = mark(
    "Row {row:,} has the token {token:.40} ({id:,}), but the model has only {embeddings:,} embeddings: leave the token "
    "out of the rows and the template, use the model's own tokenizer, or add the token to the model as well "
    "(resize_token_embeddings)."
)
MAX_PLACEHOLDERS = 20  # named; rows of code may have any number of what looks like one


@dataclass
class _Reading:
    """What changes from row to row during one pass."""

    result: PassResult
    store: StoreWriter
    left_out: LeftOutWriter
    splits: bool  # whether a row longer than the maximum length becomes several examples
    text_hashes: set[int] = field(default_factory=set)
    answers: AnswerCounter = field(default_factory=AnswerCounter)
    generator: random.Random = field(default_factory=lambda: random.Random(0))


class Pass:
    """Reads sources into examples; has the settings that are the same for all rows."""

    def __init__(
        self,
        config: DataConfig,
        tokenizer,
        max_seq_length: int,
        completion_only_loss: bool,
        end_ids: frozenset[int],
        should_stop: ShouldStop,
        report: Report,
        embeddings: int | None = None,
    ):
        self.config, self.tokenizer, self.max_seq_length = config, tokenizer, max_seq_length
        self.completion_only_loss, self.end_ids = completion_only_loss, end_ids
        self.should_stop, self.report, self.embeddings = should_stop, report, embeddings
        self.special_tokens = special_tokens_of(tokenizer)

    def read(self, rows: FileRows | HubRows, folder: Path, name: str, limit: int | None) -> PassResult:
        """All rows of one source, or the first `limit`; examples are stored as `name` in the folder.

        Raises DataError, NothingLeftError if every row is left out, and Stopped.
        """
        result = PassResult(recognise(readable_head(rows), self.config))
        store, left_out = StoreWriter(folder / f"{name}.arrow"), LeftOutWriter(folder / f"{name}-left-out.csv")
        reading = _Reading(result, store, left_out, rows.wants_splitting and result.shape.name == "text")
        try:
            for batch in _batches(rows if limit is None else _first(rows, limit)):
                leave_if(self.should_stop)
                result.rows += len(batch)
                self._process(batch, reading)
                self.report(rows.share if limit is None else None, result.rows)
        finally:
            store.close()
            left_out.close()
        result.notes, result.encoding = tuple(rows.notes), rows.encoding
        result.warnings = rows.warnings
        result.same_answer = reading.answers.finish(self.special_tokens)
        result.left_out, result.examples = left_out.finish(result.rows), store.finish()
        if not len(result.examples):
            raise NothingLeftError(result.left_out)
        return result

    def _process(self, batch: list[Row], reading: _Reading) -> None:
        """Renders the rows of a batch and stores their examples."""
        result = reading.result
        usable: list[tuple[Row, Rendered]] = []
        for row in batch:
            rendered, reason = self._render(row, reading)
            if reason:
                reading.left_out.add(row, reason)
                continue
            usable.append((row, rendered))
            if token := special_token_in(row.values, self.special_tokens):
                result.special_rows += 1
                result.special_token = result.special_token or token
        if usable:
            self._tokenise(usable, reading)

    def _render(self, row: Row, reading: _Reading) -> tuple[Rendered, str]:
        """The text of a row, and why the row is left out; the reason is empty if it is not."""
        reason, pieces, changes = row.fault, [], []
        if not reason:
            try:
                pieces = render(row.values, reading.result.shape, self.config, self.tokenizer, changes.append)
            except TemplateError as error:
                reason = str(error)
            except RecursionError:
                reason = tr(TOO_DEEP)
        rendered = Rendered(row.number, pieces, frozenset(changes))
        reason = reason or _why_unusable(rendered.text)
        if not reason and self.config.drop_duplicates:
            key = text_hash(rendered.text)
            reason = tr("the same text as an earlier row") if key in reading.text_hashes else ""
            reading.text_hashes.add(key)
        return rendered, reason

    def _tokenise(self, usable: list[tuple[Row, Rendered]], reading: _Reading) -> None:
        """Tokenises rows and stores their examples; rows without a token to train on are left out."""
        result = reading.result
        examples_of_rows = tokenise(
            [rendered for _, rendered in usable],
            self.tokenizer,
            self.max_seq_length,
            self.completion_only_loss,
            reading.splits,
        )
        examples, hashes, ends, unfilled = [], [], [], []
        for (row, rendered), parts in zip(usable, examples_of_rows, strict=True):
            self._check_tokens(row, parts)
            useful = [part for part in parts if part.trained]
            if reason := self._why_left_out(parts, bool(useful)):
                reading.left_out.add(row, reason)
                continue
            pieces = [text for text, is_trained in rendered.pieces if is_trained or not self.completion_only_loss]
            trained_text = "".join(pieces)
            placeholders = placeholders_in(trained_text)
            new = [name for name in placeholders if name not in result.placeholders]
            result.placeholders += new[: MAX_PLACEHOLDERS - len(result.placeholders)]
            examples += useful
            hashes += [text_hash(rendered.text)] if len(parts) == 1 else [ids_hash(part.input_ids) for part in useful]
            # A file in several parts continues in the next; only the last of them needs an end mark.
            ends += [part is not parts[-1] or part.end_id(self.end_ids) is not None for part in useful]
            unfilled += [bool(placeholders)] * len(useful)
            result.is_split = result.is_split or len(parts) > 1
            _sample(result.samples, trained_text, row.number, reading.generator)
            reading.answers.add("".join(text for text, is_trained in rendered.pieces if is_trained))
            result.changes.update(rendered.changes)
            if len(result.preview) < PREVIEW_ROWS:
                result.preview.append(rendered.text)
        if examples:
            reading.store.add(examples, hashes, ends, unfilled)

    def _why_left_out(self, parts: list[Example], is_trained: bool) -> str:
        """Why a row with these examples is left out; empty if it is not."""
        if not parts:
            return tr("no text")
        if self.config.drop_long_rows and any(part.is_cut for part in parts):
            return tr("longer than {length} tokens", length=self.max_seq_length)
        return "" if is_trained else tr("the answer begins after {length} tokens", length=self.max_seq_length)

    def _check_tokens(self, row: Row, parts: list[Example]) -> None:
        """Raises DataError when the model would be given a token that it has no embedding for."""
        highest = max((max(part.input_ids, default=0) for part in parts), default=0)
        if self.embeddings is not None and highest >= self.embeddings:
            token = self.tokenizer.decode([highest]).strip() or str(self.tokenizer.convert_ids_to_tokens(highest))
            raise DataError(NO_EMBEDDING, row=row.number, token=token, id=highest, embeddings=self.embeddings)


def readable_head(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The values of the first rows, by which the shape is judged. Raises DataError if none of them can be read."""
    head = list(_first(rows, HEAD_ROWS))
    readable = [row.values for row in head if not row.fault]
    if head and not readable:
        fault, count = Counter(row.fault for row in head).most_common(1)[0]
        raise DataError(
            "None of the first {rows} rows can be read; the reason for {count} of them: {fault}.",
            rows=len(head),
            count=count,
            fault=fault,
        )
    return readable


def _first(rows: Iterable[Row], limit: int) -> Iterator[Row]:
    """At most `limit` rows, fewer if they are very long, so that a preview is always fast."""
    characters = 0
    for row in islice(rows, limit):
        yield row
        characters += _size(row)
        if characters >= BATCH_CHARACTERS:
            return


def _size(row: Row) -> int:
    """Characters of all texts in the row, at any depth."""
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


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += _size(row)
        if len(batch) == BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _why_unusable(text: str) -> str:
    """Why the text cannot be tokenised; empty if it can."""
    if len(text) > MAX_ROW_CHARACTERS:
        return tr("longer than {limit:,} characters", limit=MAX_ROW_CHARACTERS)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return tr("half a character (a lone surrogate)")
    return ""


def _sample(samples: list[str], text: str, number: int, generator: random.Random) -> None:
    """Keeps each text with the same probability, however many there are (algorithm R, Vitter 1985)."""
    if len(samples) < LANGUAGE_SAMPLES:
        samples.append(text[:SAMPLE_CHARACTERS])
    elif (place := generator.randrange(number)) < LANGUAGE_SAMPLES:
        samples[place] = text[:SAMPLE_CHARACTERS]
