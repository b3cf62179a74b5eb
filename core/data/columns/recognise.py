"""What the columns of the rows are for: which asks, which answers, or which is learned whole.

    shape = recognise(rows, config)        from the first rows, by the names of the columns and by what stands in them

Knows nothing of files, tokens or chat templates. A guess says that it is one, and the person's own choice goes first.
"""

from dataclasses import replace
from typing import Any

from core.data.columns import column_names as names_of
from core.data.columns.chosen_columns import ROLES, check_roles, check_template, chosen_columns, listed, names_in_words
from core.data.columns.column_names import is_about, plain
from core.data.columns.field_values import Column, as_turns, columns_of, lookup, speaker_key
from core.data.columns.open_questions import (
    FEW,
    are_scattered,
    choices_among,
    keys_without,
    later_roles,
    unused_columns,
)
from core.data.columns.shape import Shape
from core.data.prompts.prompt_templates import TEMPLATES
from core.problems import DataError
from core.settings.sections import DataConfig

MUCH_LONGER = 3  # a text that many times as long as any beside it is the one that is meant


def recognise(rows: list[dict[str, Any]], config: DataConfig) -> Shape:
    """How rows are to be read, judged by these, the first of them. Raises DataError."""
    if not rows:
        raise DataError("There are no rows.")
    columns = columns_of(rows)
    if "{" in config.prompt_template:
        wanted = check_template(config.prompt_template, columns, rows)
        return Shape("columns", f"the prompt takes {', '.join(wanted)} from each row")
    if config.prompt_template not in ("chat", *TEMPLATES):
        known = f"take chat, {', '.join(TEMPLATES)}, or a text with {{column}}"
        raise DataError(f"There is no prompt {config.prompt_template!r}; {known}.")
    chosen = chosen_columns(config, columns, rows)
    named = _as_chosen(chosen) or _chat(columns, rows) or _question(columns) or _text(columns)
    shape = named or _guess(columns)
    if shape is None:
        raise DataError(_no_way(columns))
    allowed = {"text": {"text"}, "messages": {"system"}, "sharegpt": {"system"}}.get(shape.name, set(ROLES))
    if misplaced := [column for role, column in chosen.items() if role not in allowed]:
        raise DataError(
            f"By itself {names_in_words(misplaced)} cannot be used here, as {shape.reason}; choose the columns that ask and "
            "answer too (Instruction, Answer), or none."
        )
    taken = {**shape.columns, **chosen}
    check_roles(taken, rows)
    shape = replace(shape, columns=taken)
    if {"text", "answer"} & set(chosen):
        return shape
    shape = _with_doubts(shape, columns, chosen)
    later = later_roles(shape.name, columns, taken) if named else ()
    return replace(shape, later=later, known=keys_without(later, rows, taken) if later else frozenset())


def _with_doubts(shape: Shape, columns: list[Column], chosen: dict[str, str]) -> Shape:
    """The recognised shape, its reason with what is not used; no longer sure where that may be what is meant."""
    asks = shape.name in ("alpaca", "question")
    unused = unused_columns(columns, shape.columns.values())
    reason, is_sure = shape.reason, shape.is_sure
    if not is_sure:  # a guess says itself what it goes by, and has no use for what is rejected
        unused = [column for column in unused if plain(column.name) != names_of.REJECTED]
    by_itself = [column for role, column in shape.columns.items() if role not in chosen]
    if is_sure and are_scattered(columns, by_itself):
        reason, is_sure = f"a guess, as there are several objects with such columns: {reason}", False
    if asks and (choices := choices_among(unused)):
        several = len(choices) > 1
        which = "" if len(choices) > FEW else f" {', '.join(choices)}"
        reason += f", the column{'s' if several else ''}{which} {'are' if several else 'is'} not used"
        is_sure = False
    elif 0 < len(unused) <= FEW:
        reason += f", not used: {', '.join(column.name for column in unused)}"
    return replace(shape, reason=reason, is_sure=is_sure)


def _as_chosen(chosen: dict[str, str]) -> Shape | None:
    if "text" in chosen:
        return Shape("text", f"you chose {_quoted(chosen['text'])}, and all of it is learned", True, chosen)
    if "answer" in chosen:
        return Shape("question", f"you chose: {_asks_and_answers(chosen)}", True, chosen)
    return None


def _chat(columns: list[Column], rows: list[dict[str, Any]]) -> Shape | None:
    """Turns of a chat in one column, or a prompt and an answer that both are turns."""
    turns = {
        column.name: column for column in columns if column.kind == "turns" and plain(column.name) != names_of.REJECTED
    }
    empty = [
        column.name for column in columns if column.kind == "empty" and plain(column.name) in names_of.TURNS.split()[:4]
    ]
    empty = [name for name in empty if any(isinstance(row.get(name), list) for row in rows)]
    by_name = [name for wanted in names_of.TURNS.split() for name in [*turns, *empty] if plain(name) == wanted]
    if not by_name and (not turns or _question(columns)):
        return None
    if not by_name:
        by_name = [name for name in turns if plain(name) != "prompt"] or list(turns)
    name = by_name[0]
    taken = {"messages": name}
    prompt = _find(columns, "prompt", kinds=("turns", "text"))
    if prompt and prompt != name and plain(name) in ("completion", "chosen", "response", "output"):
        taken = {"prompt": prompt, "messages": name}
    reason = f"{_quoted(name)} holds the turns of a chat"
    if "prompt" in taken:
        reason = f"{_quoted(prompt)} and {_quoted(name)} hold the turns of a chat"
    for role, names in (("system", names_of.SYSTEMS), ("tools", names_of.TOOLS)):
        if found := _find(columns, names, kinds=("text", "object", "turns", "empty")):
            taken[role] = found
            if _find(columns, names, kinds=("empty",)) == found:
                continue  # nothing in the first rows
            reason += (
                f", {_quoted(found)} is the system prompt" if role == "system" else f", {_quoted(found)} its tools"
            )
    return Shape("sharegpt" if _is_sharegpt(name, rows) else "messages", reason, True, taken)


def _is_sharegpt(name: str, rows: list[dict[str, Any]]) -> bool:
    for turns in (as_turns(lookup(row, name)) for row in rows):
        if turns:
            return speaker_key(turns[0]) == "from"
    return plain(name) == "conversations"


def _question(columns: list[Column]) -> Shape | None:
    """A column that asks and one that answers, by their names."""
    for asking, answering in names_of.PAIRS:
        asks = _find(columns, asking, kinds=("text", "value", "object", "empty"))
        answers = _find(columns, answering, kinds=("text", "value", "object", "empty"), besides=asks)
        if not asks or not answers:
            continue
        taken = {"instruction": asks}
        if found := _find(columns, names_of.INPUTS, kinds=("text", "value", "object", "empty"), besides=asks):
            taken |= {"input": found} if found != answers else {}
        taken["answer"] = answers
        if found := _find(columns, names_of.SYSTEMS, kinds=("text", "empty"), besides=asks):
            taken["system"] = found
        kinds = {column.name: column.kind for column in columns}
        is_sure = "object" not in (kinds[asks], kinds[answers])
        guess = "" if is_sure else "a guess, as the fields hold lists or objects: "
        name = "alpaca" if (asking, answering) == names_of.ALPACA else "question"
        return Shape(name, guess + _asks_and_answers(taken), is_sure, taken)
    return None


def _text(columns: list[Column]) -> Shape | None:
    """A column that is learned whole: by its name, or because it is the only one with words in it."""
    texts = [column for column in columns if column.kind == "text" and not is_about(column.name)]
    known = _find(columns, names_of.TEXTS, kinds=("text",)) or _find(columns, names_of.TEXTS, kinds=("value", "empty"))
    name = known or (texts[0].name if len(texts) == 1 else None)
    if name is None:
        return None
    title = _find(columns, names_of.TITLES, kinds=("text", "value"), besides=name)
    others = [column for column in columns if column.name not in (name, title) and not is_about(column.name)]
    others = [column for column in others if column.kind in ("text", "value", "object")]
    length = next(column.length for column in columns if column.name == name)
    if known is None and others:
        return None
    labels = [column for column in others if plain(column.name) in names_of.LABELS.split()]
    rivals = [column for column in others if column.kind == "text" and column.length * MUCH_LONGER > length]
    if labels or rivals:
        return None
    taken = {"title": title, "text": name} if title else {"text": name}
    above = f"{_quoted(title)} above " if title else ""
    only = "" if title or len(columns) > 1 else "only "
    return Shape("text", f"{only}{above}{_quoted(name)}: all of it is learned, for continued pretraining", True, taken)


def _guess(columns: list[Column]) -> Shape | None:
    """The likeliest of what is left, for the person to confirm."""
    columns = [column for column in columns if plain(column.name) != names_of.REJECTED]
    rest = [column for column in columns if not is_about(column.name)] or columns
    texts = [column for column in rest if column.kind == "text"]
    labels = [
        column for column in rest if plain(column.name) in names_of.LABELS.split() and column.kind in ("text", "value")
    ]
    asking = [column for column in texts if column not in labels]
    if labels and asking:
        longest = max(asking, key=lambda column: column.length)
        taken = {"instruction": longest.name, "answer": labels[0].name}
        return Shape("question", f"a guess from the names: {_asks_and_answers(taken)}", False, taken)
    if len(texts) >= 2:
        longest = sorted(texts, key=lambda column: column.length, reverse=True)[:2]
        first, second = [column for column in texts if column in longest]  # in the order of the file
        taken = {"instruction": first.name, "answer": second.name}
        why = "the order of the columns" if len(texts) == 2 else "the two longest columns, in their order"
        return Shape("question", f"a guess from {why}: {_asks_and_answers(taken)}", False, taken)
    values = [column for column in rest if column.kind == "value"]
    if len(texts) == 1 and len(values) == 1:
        taken = {"instruction": texts[0].name, "answer": values[0].name}
        reason = f"a guess, as one column has words and one has not: {_asks_and_answers(taken)}"
        return Shape("question", reason, False, taken)
    if texts:
        reason = f"a guess: only {_quoted(texts[0].name)} has words in it, and all of it is learned"
        return Shape("text", reason, False, {"text": texts[0].name})
    return None


def _find(columns: list[Column], names: str, kinds: tuple[str, ...], besides: str | None = None) -> str | None:
    """The column of the first of these names that there is; the last part of a dotted name will do."""
    fitting = [column.name for column in columns if column.kind in kinds and column.name != besides]
    for wanted in names.split():
        for column in fitting:
            if plain(column) == wanted:
                return column
    ends = [(plain(column.rpartition(".")[2]), column) for column in fitting if "." in column]
    return next((column for wanted in names.split() for end, column in ends if end == wanted), None)


def _asks_and_answers(taken: dict[str, str]) -> str:
    asks = taken["instruction"] if "instruction" in taken else taken["input"]
    below = f", with {_quoted(taken['input'])} below it" if "instruction" in taken and "input" in taken else ""
    system = f", {_quoted(taken['system'])} is the system prompt" if "system" in taken else ""
    return f"{_quoted(asks)} asks{below}, {_quoted(taken['answer'])} answers{system}"


def _no_way(columns: list[Column]) -> str:
    if not columns:
        return "The rows have no fields; choose a file whose rows have named columns with words in them."
    return (
        f"The rows have {listed(columns)}, and it is not clear which asks and which answers; choose the columns under "
        '"Columns and prompt", or with --set data.instruction_column=… and --set data.answer_column=….'
    )


def _quoted(name: str) -> str:
    return f'"{name}"'
