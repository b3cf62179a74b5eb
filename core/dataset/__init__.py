"""From a file or a hub data set to the tokens that are trained on. Knows nothing of models, threads or gradio.

    rows  = read_rows(config)              plain dicts, as they stand in the file
    shape = recognise(rows)                which columns ask and which answer
    pieces = render(row, shape, ...)       the text the model sees, in pieces that are trained on or only read
    data  = prepare(config, training, tokenizer, max_seq_length)     all of it, tokenised and split

What the page previews, what the trainer learns from and what the check afterwards asks are the same pieces.
"""

import json
import string
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.config import DataConfig, resolve_path
from core.dataset.rows import DataError
from core.stopping import ShouldStop, leave_if
from core.templates import TEMPLATES, TemplateError, chat_pieces

if TYPE_CHECKING:  # importing datasets takes seconds, which the page should not wait for
    import datasets

Pieces = list[tuple[str, bool]]  # text, and whether it is trained on
ShapeName = Literal["alpaca", "messages", "sharegpt", "text", "columns"]
UPLOAD_SUFFIXES = (".json", ".jsonl")


@dataclass(frozen=True)
class Shape:
    """How rows are read. `reason` says in words why this shape was taken."""

    name: ShapeName
    reason: str


@dataclass(frozen=True)
class Example:
    """One row as tokens: `input_ids` and `labels` of equal length, labels -100 where nothing is learned."""

    row: int
    text: str
    pieces: Pieces
    input_ids: list[int]
    labels: list[int]
    is_cut: bool


@dataclass(frozen=True)
class PreparedData:
    """Rows ready to train on, of `rows` read. `left_out` counts those that cannot be learned from, by reason."""

    rows: int
    shape: Shape
    train: list[Example]
    validation: list[Example]
    left_out: Counter = field(default_factory=Counter)

    @property
    def in_order(self) -> list[Example]:
        """All rows that are used, in the order of the file."""
        return sorted([*self.train, *self.validation], key=lambda example: example.row)

    @property
    def trained_tokens_share(self) -> float:
        """Share (0 to 1) of the training rows' tokens that the loss is taken over."""
        tokens = sum(len(example.labels) for example in self.train)
        return sum(label != -100 for example in self.train for label in example.labels) / max(tokens, 1)


def as_dataset(examples: list[Example]) -> "datasets.Dataset":
    """`input_ids` and `labels` as the trainer takes them."""
    import datasets

    return datasets.Dataset.from_dict(
        {"input_ids": [example.input_ids for example in examples], "labels": [example.labels for example in examples]}
    )


def read_rows(config: DataConfig, token: str | None = None) -> list[dict[str, Any]]:
    """All rows of the file or hub data set. Raises DataError."""
    path = resolve_path(config.path)
    if path is not None and path.is_file():
        return _read_file(path)
    if path is not None:
        raise DataError(f"{config.path} is a folder; choose a JSON or JSONL file.")
    if config.path.lower().endswith(UPLOAD_SUFFIXES) or config.path.startswith((".", "/", "~")):
        raise DataError(f"There is no file {config.path}; check the path, or drop the file on the Data tab.")
    return _read_hub(config, token)


def _read_file(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() not in UPLOAD_SUFFIXES:
        raise DataError(f"{path.name} is not a JSON or JSONL file; save the rows as one of these.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8 text; save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}.") from None
    if not text.strip():
        raise DataError(f"{path.name} is empty; choose a file with rows in it.")
    if path.suffix.lower() == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        rows = [_parse_json(line, f"Line {number} of {path.name}") for number, line in lines]
        places = [f"line {number}" for number, _ in lines]
    else:
        rows = _parse_json(text, path.name)
        if not isinstance(rows, list):
            raise DataError(f"{path.name} must hold a list of rows, [{{…}}, {{…}}]; it holds one value.")
        places = [f"row {number}" for number in range(1, len(rows) + 1)]
    for row, place in zip(rows, places, strict=True):
        if not isinstance(row, dict):
            raise DataError(f"{place.capitalize()} of {path.name} is not a row with named fields, {{…}}.")
    return rows


def _parse_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = "" if place.startswith("Line") else f"line {error.lineno}, "
        raise DataError(f"{place} is not valid JSON: {error.msg}, at {line}column {error.colno}.") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of too many digits
        raise DataError(f"{place} is no JSON this program can read: {error}.") from None


def _read_hub(config: DataConfig, token: str | None) -> list[dict[str, Any]]:
    import datasets

    try:
        loaded = datasets.load_dataset(config.path, config.name, split=config.split, token=token)
    except Exception as error:  # the library raises a dozen kinds; each becomes a sentence, none is hidden
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(f"The data set {config.path} cannot be loaded from Hugging Face: {first}.") from error
    return loaded.to_list()


def recognise(rows: list[dict[str, Any]], prompt_template: str = "chat") -> Shape:
    """How the rows are to be read, from the names and types of their fields. Raises DataError."""
    if not rows:
        raise DataError("There are no rows.")
    if "{" in prompt_template:
        wanted = template_columns(prompt_template)
        missing = [column for column in wanted if column not in rows[0]]
        if missing:
            raise DataError(f"The prompt names {{{missing[0]}}}, and the rows have {', '.join(rows[0])}.")
        return Shape("columns", f"the prompt takes {', '.join(wanted)} from each row")
    if prompt_template not in ("chat", *TEMPLATES):
        raise DataError(f"There is no prompt {prompt_template!r}; take chat, {', '.join(TEMPLATES)}, or a text with {{column}}.")
    columns = rows[0]
    if isinstance(columns.get("messages"), list):
        return Shape("messages", '"messages" holds the turns of a chat')
    if isinstance(columns.get("conversations"), list):
        return Shape("sharegpt", '"conversations" holds the turns of a chat')
    if "instruction" in columns and "output" in columns:
        return Shape("alpaca", '"instruction" asks and "output" answers')
    if isinstance(columns.get("text"), str):
        return Shape("text", 'only "text": all of it is learned, for continued pretraining')
    raise DataError(
        f"The rows have {', '.join(map(repr, list(columns)[:8])) or 'no fields'}; they need instruction and output, "
        "messages, conversations, or text."
    )


def template_columns(template: str) -> list[str]:
    """The columns that a text with {column} fields names. Raises DataError for unbalanced braces."""
    try:
        parsed = [(name, spec, kind) for _, name, spec, kind in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise DataError(f"The prompt's braces do not match: {error}.") from None
    if any(not name or spec or kind or set(name) & set(".[]") for name, spec, kind in parsed):
        raise DataError("In the prompt, braces hold the name of a column and nothing else, as in {title}.")
    return list(dict.fromkeys(name for name, _, _ in parsed))


def render(row: dict[str, Any], shape: Shape, config: DataConfig, tokenizer) -> Pieces:
    """The text the model sees, special tokens included. Raises TemplateError when the row cannot be rendered."""
    if shape.name in ("text", "columns"):
        text = row.get("text") if shape.name == "text" else config.prompt_template.format_map(_Texts(row))
        if not isinstance(text, str) or not text.strip():
            raise TemplateError("no text")
        return [((tokenizer.bos_token or "") + text + (tokenizer.eos_token or ""), True)]
    readers = {"alpaca": _alpaca_messages, "sharegpt": _sharegpt_messages, "messages": lambda row: row.get("messages")}
    messages = readers[shape.name](row)
    if config.prompt_template == "chat":
        return chat_pieces(messages, tokenizer)
    return TEMPLATES[config.prompt_template].pieces(messages, tokenizer)


class _Texts(dict):
    """A row whose empty fields read as nothing."""

    def __getitem__(self, key):
        value = self.get(key)
        return "" if value is None else value


def _alpaca_messages(row: dict[str, Any]) -> list[dict[str, str]]:
    asked = [str(row.get(key) or "").strip() for key in ("instruction", "input")]
    answer = row.get("output")
    system = str(row.get("system") or "").strip()
    if not any(asked):
        raise TemplateError("no instruction")
    if answer is None or not str(answer).strip():
        raise TemplateError("no answer")
    return [
        *([{"role": "system", "content": system}] if system else []),
        {"role": "user", "content": "\n\n".join(part for part in asked if part)},
        {"role": "assistant", "content": str(answer)},
    ]


def _sharegpt_messages(row: dict[str, Any]) -> list[dict[str, Any]]:
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    turns = row.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise TemplateError("no messages")
    return [{"role": roles.get(turn.get("from")), "content": turn.get("value")} for turn in turns]


def tokenise(row: int, pieces: Pieces, tokenizer, max_seq_length: int, completion_only_loss: bool) -> Example:
    """The pieces as one sequence of tokens. A token is trained on when it begins in a piece that is.

    Raises TemplateError for text that no file can hold.
    """
    text = "".join(piece for piece, _ in pieces)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise TemplateError("half a character (a lone surrogate)")
    ends, position = [], 0
    for piece, trained in pieces:
        position += len(piece)
        ends.append((position, trained or not completion_only_loss))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    labels, at = [], 0
    for token_id, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        while at < len(ends) - 1 and start >= ends[at][0]:
            at += 1
        labels.append(token_id if ends[at][1] else -100)
    return Example(
        row=row,
        text=text,
        pieces=pieces,
        input_ids=encoded["input_ids"][:max_seq_length],
        labels=labels[:max_seq_length],
        is_cut=len(labels) > max_seq_length,
    )


def prepare(
    config: DataConfig,
    tokenizer,
    max_seq_length: int,
    completion_only_loss: bool,
    token: str | None = None,
    limit: int | None = None,
    should_stop: ShouldStop = lambda: False,
) -> PreparedData:
    """Rows read, rendered, tokenised, cut at `max_seq_length` and split; only the first `limit` rows when given.

    Row numbers count from 1. Raises DataError when nothing is left to train on, and Stopped.
    """
    rows = read_rows(config, token)
    shape = recognise(rows, config.prompt_template)
    examples, left_out = [], Counter()
    for number, row in enumerate(rows[:limit], 1):
        leave_if(should_stop)
        try:
            pieces = render(row, shape, config, tokenizer)
            example = tokenise(number, pieces, tokenizer, max_seq_length, completion_only_loss)
        except TemplateError as error:
            left_out[str(error)] += 1
            continue
        if all(label == -100 for label in example.labels):
            left_out[f"the answer begins after {max_seq_length} tokens"] += 1
            continue
        examples.append(example)
    if not examples:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in left_out.most_common(3))
        raise DataError(f"No row can be learned from: {reasons}.")
    train, validation = _split(examples, config)
    return PreparedData(len(rows), shape, train, validation, left_out)


def as_seen(example: Example, tokenizer) -> Pieces:
    """The row as the trainer gets it, from its labels: the text of its tokens, and whether it is trained on."""
    offsets = tokenizer(example.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    trained = [label != -100 for label in example.labels]
    starts = [i for i in range(len(trained)) if i == 0 or trained[i] != trained[i - 1]]
    # Slices of the text itself: decoding tokens one run at a time would add or lose spaces with some tokenizers.
    cuts = [offsets[i][0] for i in starts] + [offsets[len(trained) - 1][1]]
    return [(example.text[cuts[n] : cuts[n + 1]], trained[i]) for n, i in enumerate(starts)]


def _split(examples: list[Example], config: DataConfig) -> tuple[list[Example], list[Example]]:
    """At least one row stays for training; a share above 0 keeps back at least one where there are two."""
    import datasets

    if config.validation_share == 0 or len(examples) < 2:
        return examples, []
    count = min(max(round(len(examples) * config.validation_share), 1), len(examples) - 1)
    order = datasets.Dataset.from_dict({"i": range(len(examples))}).train_test_split(count, seed=config.seed)
    return [examples[i] for i in order["train"]["i"]], [examples[i] for i in order["test"]["i"]]

