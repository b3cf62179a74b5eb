"""All rows of a run: read, recognised, rendered, tokenised, split. Knows nothing of models, threads or gradio.

    rows     = open_rows(config)                     as they stand in the file
    shape    = recognise(first rows, config)         which columns ask and which answer
    pieces   = render(values, shape, ...)            the text the model sees, trained on or only read
    examples = tokenise(pieces, ...)                 its tokens and labels
    data     = prepare(config, tokenizer, ...)       all of it, on disk

One pass, a thousand rows at a time. What the page shows, what the trainer learns from and what is checked afterwards
are the same examples.
"""

import os
import random
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core.config import DataConfig, resolve_path
from core.dataset.hub import HubRows, open_hub
from core.dataset.left_out import LeftOut, LeftOutWriter, ask_consent
from core.dataset.readers import FileRows, open_files
from core.dataset.render import render
from core.dataset.rows import DataError, Row
from core.dataset.shapes import Shape, recognise
from core.dataset.store import Examples, StoreWriter, text_hash
from core.dataset.tokens import Rendered, tokenise
from core.stopping import ShouldStop, leave_if
from core.templates import TemplateError

Report = Callable[[float | None, int], None]  # how far (0 to 1, None when unknown) and how many rows
HEAD_ROWS = 200  # the shape is judged by these
BATCH_ROWS, BATCH_CHARACTERS = 1000, 1_000_000  # whichever is reached first
LONGEST = 10_000_000  # characters: tokenising more at once takes gigabytes
LANGUAGE_SAMPLES = 300
PREFIX = "prepared-"  # of the folder names, followed by the number of the process
PLACEHOLDER = re.compile(r"\{\{\s*[\w.]+\s*\}\}")


@dataclass(frozen=True)
class PreparedData:
    """Examples to train on and to check with, of `rows` read; `notes` say what was assumed in reading.

    `own_validation` tells of a validation file of its own, where there is one. `samples` are texts that are learned,
    drawn at random, to tell languages by. `placeholder` is the first unfilled one found. The files live as long as
    this object.
    """

    rows: int
    shape: Shape
    notes: tuple[str, ...]
    train: Examples
    validation: Examples
    left_out: LeftOut
    own_validation: "Found | None"
    samples: tuple[str, ...]
    placeholder: str
    folder: tempfile.TemporaryDirectory

    @property
    def trained_tokens_share(self) -> float:
        """Share (0 to 1) of the training rows' tokens that the loss is taken over."""
        figures = self.train.figures
        return int(figures["trained"].sum()) / max(int(figures["kept"].sum()), 1)

    def ask_consent(self, config: DataConfig) -> None:
        """Raises DataError where a person must say something first: the columns, or that rows may be left out."""
        if not self.shape.is_sure:
            raise DataError(
                f"It is not sure how to read the rows ({self.shape.reason}): choose the columns on the Data tab "
                "(data.instruction_column and data.answer_column, or data.text_column)."
            )
        ask_consent(self.left_out, self.rows, config.allow_left_out)
        if self.own_validation:
            ask_consent(self.own_validation.left_out, self.own_validation.rows, config.allow_left_out)

    def find(self, row: int) -> tuple[Examples, int] | None:
        """Where a row of the file stands among the examples; None when it was left out."""
        import numpy as np

        for part in (self.train,) if self.own_validation else (self.train, self.validation):
            places = np.flatnonzero(part.figures["row"] == row)
            if len(places):
                return part, int(places[0])
        return None


def open_rows(config: DataConfig, token: str | None = None) -> FileRows | HubRows:
    """The rows that a config names, to be read one after the other. Raises DataError."""
    first = config.path.strip().splitlines()[0] if config.path.strip() else ""
    looks_like_hub = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", first) and not Path(first).suffix
    if looks_like_hub and "\n" not in config.path.strip() and resolve_path(first) is None:
        return open_hub(config, token)
    return open_files(config.path, config.header, config.text_rows)


def prepare(
    config: DataConfig,
    tokenizer,
    max_seq_length: int,
    completion_only_loss: bool,
    token: str | None = None,
    limit: int | None = None,
    should_stop: ShouldStop = lambda: False,
    report: Report = lambda share, rows: None,
    end_ids: Iterable[int] = (),
    parent: Path | None = None,
) -> PreparedData:
    """Reads and prepares all rows, or the first `limit`; what they become is kept in a folder below `parent`.

    `end_ids` are the tokens that generation stops at. Raises DataError when nothing is left to train on, and Stopped.
    """
    stops_at = frozenset(end_ids) or frozenset({tokenizer.eos_token_id})
    work = _Pass(config, tokenizer, max_seq_length, completion_only_loss, stops_at, should_stop, report)
    theirs, folder = None, None
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=parent, ignore_cleanup_errors=True)
        main = work.read(open_rows(config, token), Path(folder.name), "rows", limit)
        if config.validation_path:
            rows = open_rows(config.model_copy(update={"path": config.validation_path}), token)
            theirs = work.read(rows, Path(folder.name), "validation", limit)
    except BaseException as error:
        if folder is not None:
            folder.cleanup()
        if isinstance(error, OSError):
            raise DataError(f"The prepared rows cannot be kept on disk: {error.strerror or error}; make room there.") from None
        raise
    train, validation = (main.examples, theirs.examples) if theirs else _split(main.examples, config)
    return PreparedData(
        rows=main.rows,
        shape=main.shape,
        notes=main.notes,
        train=train,
        validation=validation,
        left_out=main.left_out,
        own_validation=theirs,
        samples=tuple(main.samples),
        placeholder=main.placeholder,
        folder=folder,
    )


@dataclass
class Found:
    """What one pass over one source came to: `rows` read, some of them `left_out`, the others `examples`."""

    shape: Shape
    notes: tuple[str, ...]
    rows: int = 0
    samples: list[str] | None = None
    placeholder: str = ""
    examples: Examples | None = None
    left_out: LeftOut | None = None


class _Pass:
    """Everything that stays the same from row to row."""

    def __init__(self, config, tokenizer, max_seq_length, completion_only_loss, end_ids, should_stop, report):
        self.config, self.tokenizer, self.length = config, tokenizer, max_seq_length
        self.completion_only_loss, self.end_ids = completion_only_loss, end_ids
        self.should_stop, self.report = should_stop, report

    def read(self, rows: FileRows | HubRows, folder: Path, name: str, limit: int | None) -> Found:
        """One source, from its first row to its last. Raises DataError and Stopped."""
        head = [row.values for row in islice(rows, HEAD_ROWS) if not row.fault]
        found = Found(recognise(head, self.config), ())
        found.samples, seen, luck = [], set(), random.Random(0)
        store, left_out = StoreWriter(folder / f"{name}.arrow", self.end_ids), LeftOutWriter(folder / f"{name}-left-out.csv")
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
            raise DataError(f"No row can be learned from: {found.left_out.in_words()}.")
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
            ready = Rendered(row.number, pieces)
            reason = reason or _unusable(ready.text)
            if not reason and self.config.drop_duplicates:
                key = text_hash(ready.text)
                reason = "the same text as an earlier row" if key in seen else ""
                seen.add(key)
            if reason:
                left_out.add(row, reason)
            else:
                rendered.append((row, ready))
        if rendered:
            self._tokenise(rendered, found, store, left_out, luck, splits and found.shape.name == "text")

    def _tokenise(self, rendered: list[tuple[Row, Rendered]], found: Found, store, left_out, luck, splits: bool) -> None:
        lists = tokenise([r for _, r in rendered], self.tokenizer, self.length, self.completion_only_loss, splits)
        examples, texts, unfilled = [], [], []
        for (row, ready), parts in zip(rendered, lists, strict=True):
            useful = [part for part in parts if part.trained]
            if not useful:
                left_out.add(row, f"the answer begins after {self.length} tokens" if parts else "no text")
                continue
            placeholder = PLACEHOLDER.search(ready.text)
            found.placeholder = found.placeholder or (placeholder.group() if placeholder else "")
            examples += useful
            texts += [ready.text] if len(useful) == 1 else [f"{n} {ready.text}" for n in range(len(useful))]
            unfilled += [placeholder is not None] * len(useful)
            _sample(found.samples, "".join(text for text, trained in ready.pieces if trained), row.number, luck)
        if examples:
            store.add(examples, texts, unfilled)


def _first(rows: Iterable[Row], limit: int):
    """At most so many rows, and no more of them than are tokenised at once: a preview must be there at once."""
    characters = 0
    for row in islice(rows, limit):
        yield row
        characters += _size(row)
        if characters >= BATCH_CHARACTERS:
            return


def _size(row: Row) -> int:
    return sum(len(value) for value in row.values.values() if isinstance(value, str))


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


def _split(examples: Examples, config: DataConfig) -> tuple[Examples, Examples]:
    """At least one row stays for training; a share above 0 keeps back at least one where there are two."""
    import datasets
    import numpy as np

    if config.validation_share == 0 or len(examples) < 2:
        return examples, examples.pick(np.arange(0))
    count = min(max(round(len(examples) * config.validation_share), 1), len(examples) - 1)
    numbers = datasets.Dataset.from_dict({"at": np.arange(len(examples))})
    order = numbers.train_test_split(count, seed=config.seed, keep_in_memory=True).with_format("numpy")
    return examples.pick(order["train"]["at"][:]), examples.pick(order["test"]["at"][:])
