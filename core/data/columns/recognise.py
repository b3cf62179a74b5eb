"""What the columns of the rows are for: which is the question, which the answer, or which is trained on as plain text.

    shape = recognise(rows, config)        from the first rows, by the names of the columns and their contents

The person's own choice comes first. A guess says that it is one.
"""

from dataclasses import replace
from typing import Any

from core.data.columns import column_names
from core.data.columns.chosen_columns import ROLES, check_roles, check_template, chosen_columns, listed, quoted_names
from core.data.columns.column_names import is_metadata, plain
from core.data.columns.field_values import Column, as_answer, as_turn, columns_of, lookup, speaker_key
from core.data.columns.open_questions import (
    MAX_NAMED_COLUMNS,
    are_scattered,
    choices_among,
    keys_without,
    later_roles,
    unused_columns,
)
from core.data.columns.shape import Shape
from core.data.columns.shape_in_words import asks_and_answers, has_turns, is_answer, is_system, not_used
from core.data.prompts.prompt_templates import TEMPLATES
from core.problems import DataError, tr
from core.settings.sections import DataConfig

MUCH_LONGER = 3  # a text this many times as long as any other is the one to train on


def recognise(rows: list[dict[str, Any]], config: DataConfig) -> Shape:
    """How to read the rows, judged by the first of them. Raises DataError if it is unclear or a choice does not fit."""
    if not rows:
        raise DataError("There are no rows; choose a file that has some.")
    columns = columns_of(rows)
    if "{" in config.prompt_template:
        wanted = check_template(config.prompt_template, columns, rows)
        return Shape("columns", tr("the prompt uses {columns} from each row", columns=", ".join(wanted)))
    if config.prompt_template not in ("chat", *TEMPLATES):
        raise DataError(
            "There is no prompt template {prompt!r}; use {known}, or your own text with {{column}} fields.",
            prompt=config.prompt_template,
            known=", ".join(["chat", *TEMPLATES]),
        )
    chosen = chosen_columns(config, columns, rows)
    named = _as_chosen(chosen) or _chat(columns, rows) or _question(columns) or _text(columns)
    shape = named or _guess(columns)
    if shape is None:
        raise _unclear(columns)
    allowed = {"text": {"text"}, "messages": {"system"}, "sharegpt": {"system"}}.get(shape.name, set(ROLES))
    if misplaced := [column for role, column in chosen.items() if role not in allowed]:
        raise DataError(
            "You chose {chosen}, which cannot be used here because {reason}; choose the question and the answer too "
            "(Instruction, Answer), or none of them.",
            chosen=quoted_names(misplaced),
            reason=shape.reason,
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
    """The detected shape; its reason also names unused columns, and it is not sure if those may be the ones meant."""
    asks = shape.name in ("alpaca", "question")
    unused = unused_columns(columns, shape.columns.values())
    reason, is_sure = shape.reason, shape.is_sure
    if not is_sure:  # a guess already ignored the rejected answers, so it need not mention them
        unused = [column for column in unused if plain(column.name) != column_names.REJECTED]
    by_itself = [column for role, column in shape.columns.items() if role not in chosen]
    if is_sure and are_scattered(columns, by_itself):
        reason, is_sure = tr("a guess, because several objects have such columns: {reason}", reason=reason), False
    if asks and (choices := choices_among(unused)):
        reason, is_sure = f"{reason}, {not_used(choices)}", False
    elif 0 < len(unused) <= MAX_NAMED_COLUMNS:
        reason += ", " + tr("not used: {columns}", columns=", ".join(column.name for column in unused))
    return replace(shape, reason=reason, is_sure=is_sure)


def _as_chosen(chosen: dict[str, str]) -> Shape | None:
    if "text" in chosen:
        reason = tr('you chose "{text}", and all of it is trained on', text=chosen["text"])
        return Shape("text", reason, True, chosen)
    if "answer" in chosen:
        reason = tr("you chose: {reason}", reason=asks_and_answers(chosen))
        return Shape("question", reason, True, chosen)
    return None


def _chat(columns: list[Column], rows: list[dict[str, Any]]) -> Shape | None:
    """Turns of a chat in one column, or what asks and an answer in two, at least one of them as turns."""
    turns = [
        column.name
        for column in columns
        if (column.kind == "turns" and plain(column.name) != column_names.REJECTED)
        or (plain(column.name) == column_names.CHOSEN and any(as_turn(lookup(row, column.name)) for row in rows))
    ]
    empty = [
        column.name
        for column in columns
        if column.kind == "empty" and plain(column.name) in column_names.TURNS.split()[:4]
    ]
    empty = [name for name in empty if any(isinstance(row.get(name), list) for row in rows)]
    by_name = [name for wanted in column_names.TURNS.split() for name in [*turns, *empty] if plain(name) == wanted]
    if not by_name and (not turns or _question(columns)):
        return None
    if not by_name:
        by_name = [name for name in turns if plain(name) != "prompt"] or turns
    taken, reason = _prompt_and_answer(by_name[0], columns, rows)
    for role, names in (("system", column_names.SYSTEMS), ("tools", column_names.TOOLS)):
        if found := _find(columns, names, kinds=("text", "object", "turns", "empty")):
            taken[role] = found
            if _find(columns, names, kinds=("empty",)) == found:
                continue  # it is empty in the first rows, so there is nothing to mention
            reason += ", " + (is_system(found) if role == "system" else tr('"{tools}" has its tools', tools=found))
    return Shape("sharegpt" if _is_sharegpt(by_name[0], rows) else "messages", reason, True, taken)


def _prompt_and_answer(name: str, columns: list[Column], rows: list[dict[str, Any]]) -> tuple[dict[str, str], str]:
    """The columns of a chat by role, and the reason; `name` is the column that has turns, by its name."""
    if plain(name) not in column_names.ANSWERS.split():
        rejected = any(plain(column.name) == column_names.REJECTED for column in columns)
        chosen = _find(columns, column_names.CHOSEN, kinds=("turns", "object", *(("text",) if rejected else ())))
        if not chosen or not _answers(chosen, rows):
            return {"messages": name}, has_turns(name)
        reason = f"{has_turns(name)}, {is_answer(chosen)}"
        return {"prompt": name, "messages": chosen}, reason
    is_single = all(len(answer) == 1 for answer in _answers(name, rows))
    prompt = _find(columns, "prompt", kinds=("turns", "text"), other_than=name)
    if is_single and not prompt:
        others = (column.name for column in columns if column.kind == "turns" and column.name != name)
        prompt = next((other for other in others if plain(other) != column_names.REJECTED), None)
    if prompt:
        taken = {"prompt": prompt, "messages": name}
        return taken, tr('"{prompt}" and "{answer}" have the turns of a chat', prompt=prompt, answer=name)
    if is_single:
        asking = (_find(columns, names, kinds=("text",), other_than=name) for names, _ in column_names.PAIRS)
        if asks := next(filter(None, asking), None):
            taken = {"instruction": asks}
            if found := _find(columns, column_names.INPUTS, kinds=("text", "value"), other_than=asks):
                taken["input"] = found
            return taken | {"messages": name}, asks_and_answers({**taken, "answer": name})
    return {"messages": name}, has_turns(name)


def _answers(name: str, rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    return [answer for row in rows if (answer := as_answer(lookup(row, name))) is not None]


def _is_sharegpt(name: str, rows: list[dict[str, Any]]) -> bool:
    for turns in _answers(name, rows):
        return speaker_key(turns[0]) == "from"
    return plain(name) == "conversations"


def _question(columns: list[Column]) -> Shape | None:
    """A question and an answer, by the names of their columns."""
    for asking, answering in column_names.PAIRS:
        asks = _find(columns, asking, kinds=("text", "value", "object", "empty"))
        answers = _find(columns, answering, kinds=("text", "value", "object", "empty"), other_than=asks)
        if not asks or not answers:
            continue
        taken = {"instruction": asks}
        if found := _find(columns, column_names.INPUTS, kinds=("text", "value", "object", "empty"), other_than=asks):
            taken |= {"input": found} if found != answers else {}
        taken["answer"] = answers
        if found := _find(columns, column_names.SYSTEMS, kinds=("text", "empty"), other_than=asks):
            taken["system"] = found
        kinds = {column.name: column.kind for column in columns}
        is_sure = "object" not in (kinds[asks], kinds[answers])
        reason = asks_and_answers(taken)
        if not is_sure:
            reason = tr("a guess, because the fields are lists or objects: {reason}", reason=reason)
        name = "alpaca" if (asking, answering) == column_names.ALPACA else "question"
        return Shape(name, reason, is_sure, taken)
    return None


def _text(columns: list[Column]) -> Shape | None:
    """A column to train on as plain text: by its name, or because no other column has words in it."""
    texts = [column for column in columns if column.kind == "text" and not is_metadata(column.name)]
    known = _find(columns, column_names.TEXTS, kinds=("text",))
    if known is None:
        known = _find(columns, column_names.TEXTS, kinds=("value", "empty"))
    name = known or (texts[0].name if len(texts) == 1 else None)
    if name is None:
        return None
    title = _find(columns, column_names.TITLES, kinds=("text", "value"), other_than=name)
    others = [column for column in columns if column.name not in (name, title) and not is_metadata(column.name)]
    others = [column for column in others if column.kind in ("text", "value", "object")]
    length = next(column.length for column in columns if column.name == name)
    if known is None and others:
        return None
    labels = [column for column in others if plain(column.name) in column_names.LABELS.split()]
    rivals = [column for column in others if column.kind == "text" and column.length * MUCH_LONGER > length]
    if labels or rivals:
        return None
    if title:
        reason = tr(
            '"{title}" above "{text}": all of it is trained on, as in continued pretraining', title=title, text=name
        )
        return Shape("text", reason, True, {"title": title, "text": name})
    if len(columns) > 1:
        reason = tr('"{text}": all of it is trained on, as in continued pretraining', text=name)
    else:
        reason = tr('only "{text}": all of it is trained on, as in continued pretraining', text=name)
    return Shape("text", reason, True, {"text": name})


def _guess(columns: list[Column]) -> Shape | None:
    """The most likely use of the columns, for the person to confirm."""
    columns = [column for column in columns if plain(column.name) != column_names.REJECTED]
    rest = [column for column in columns if not is_metadata(column.name)] or columns
    texts = [column for column in rest if column.kind == "text"]
    labels = [
        column
        for column in rest
        if plain(column.name) in column_names.LABELS.split() and column.kind in ("text", "value")
    ]
    asking = [column for column in texts if column not in labels]
    if labels and asking:
        longest = max(asking, key=lambda column: column.length)
        taken = {"instruction": longest.name, "answer": labels[0].name}
        reason = tr("a guess from the names: {reason}", reason=asks_and_answers(taken))
        return Shape("question", reason, False, taken)
    if len(texts) >= 2:
        longest = sorted(texts, key=lambda column: column.length, reverse=True)[:2]
        first, second = [column for column in texts if column in longest]  # in the order of the file
        taken = {"instruction": first.name, "answer": second.name}
        reason = asks_and_answers(taken)
        if len(texts) == 2:
            reason = tr("a guess from the order of the columns: {reason}", reason=reason)
        else:
            reason = tr("a guess from the two longest columns, in their order: {reason}", reason=reason)
        return Shape("question", reason, False, taken)
    values = [column for column in rest if column.kind == "value"]
    if len(texts) == 1 and len(values) == 1:
        taken = {"instruction": texts[0].name, "answer": values[0].name}
        reason = asks_and_answers(taken)
        reason = tr("a guess, because one column has words and the other does not: {reason}", reason=reason)
        return Shape("question", reason, False, taken)
    if texts:
        reason = tr('a guess: only "{text}" has words in it, and all of it is trained on', text=texts[0].name)
        return Shape("text", reason, False, {"text": texts[0].name})
    return None


def _find(columns: list[Column], names: str, kinds: tuple[str, ...], other_than: str | None = None) -> str | None:
    """The column with the first of these names that exists; of a dotted name the last part is enough."""
    fitting = [column.name for column in columns if column.kind in kinds and column.name != other_than]
    for wanted in names.split():
        for column in fitting:
            if plain(column) == wanted:
                return column
    ends = [(plain(column.rpartition(".")[2]), column) for column in fitting if "." in column]
    return next((column for wanted in names.split() for end, column in ends if end == wanted), None)


def _unclear(columns: list[Column]) -> DataError:
    if not columns:
        return DataError("The rows have no fields; choose a file whose rows have named columns with words in them.")
    return DataError(
        "It is not clear which of the columns ({columns}) is the question and which is the answer; choose the columns "
        'under "Columns and prompt", or with --set data.instruction_column=… and --set data.answer_column=….',
        columns=listed(columns),
    )
