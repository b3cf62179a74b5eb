"""What columns are for: by their names, by their contents, and by what the person chose."""

import csv
import io
import json

import pytest

from core.data.columns.chosen_columns import ONLY_NAMES_IN_BRACES, template_columns
from core.data.columns.field_values import as_turns, columns_of, kind_of
from core.data.columns.recognise import recognise
from core.problems import DataError
from core.settings.sections import DataConfig

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
SHARED = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]
LONG = "a review with a good many words in it, far more of them than in its headline, and so on and on"


def shape_of(*rows, **settings):
    return recognise(list(rows), DataConfig(**settings))


def refusal(*rows, **settings) -> DataError:
    with pytest.raises(DataError) as caught:
        shape_of(*rows, **settings)
    return caught.value


def rows_of(path, limit=200):
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))[:limit]
    text = path.read_text(encoding="utf-8")
    return (json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()])[:limit]


@pytest.mark.parametrize(
    ("file", "name", "columns", "reason"),
    [
        ("alpaca/alpaca_en_demo.json", "alpaca", {"instruction": "instruction", "input": "input", "answer": "output"},
         '"instruction" is the question, with "input" below it, "output" is the answer'),
        ("alpaca/identity.json", "alpaca", {"instruction": "instruction", "input": "input", "answer": "output"},
         '"instruction" is the question, with "input" below it, "output" is the answer'),
        ("sharegpt/glaive_toolcall_en_demo.json", "sharegpt", {"messages": "conversations", "tools": "tools"},
         '"conversations" has the turns of a chat, "tools" has its tools'),
        ("sharegpt/v1_sft_demo.jsonl", "messages", {"messages": "messages"}, '"messages" has the turns of a chat'),
        ("messages/price_is_200.jsonl", "messages", {"messages": "messages"}, '"messages" has the turns of a chat'),
        ("korean/ChatbotData.csv", "question", {"instruction": "Q", "answer": "A"},
         '"Q" is the question, "A" is the answer'),
        ("summaries/fine_food_reviews_1k.csv", "question", {"instruction": "Text", "answer": "Summary"},
         '"Text" is the question, "Summary" is the answer, not used: ProfileName'),
        ("text/c4_demo.jsonl", "text", {"text": "text"},
         'only "text": all of it is trained on, as in continued pretraining'),
        ("nasty/csvkit/testjson.json", "text", {"text": "text"},
         '"text": all of it is trained on, as in continued pretraining'),
    ],
)  # fmt: skip
def test_the_shapes_of_real_files(shared_data, file, name, columns, reason):
    shape = recognise(rows_of(shared_data / file), DataConfig())
    assert (shape.name, shape.columns, shape.reason, shape.is_sure) == (name, columns, reason, True)


@pytest.mark.parametrize(
    ("row", "name", "columns"),
    [
        ({"instruction": "a", "output": "b"}, "alpaca", "instruction=instruction answer=output"),
        ({"system": "s", "instruction": "a", "input": "", "output": "b"}, "alpaca",
         "instruction=instruction input=input answer=output system=system"),
        ({"instruction": "a", "context": "c", "response": "b", "category": "qa"}, "alpaca",
         "instruction=instruction input=context answer=response"),
        ({"Instruction": "a", "Out put": "b"}, "alpaca", "instruction=Instruction answer=Out put"),
        ({"instruction": "a", "output": None}, "alpaca", "instruction=instruction answer=output"),
        ({"question": "a", "context": "c", "answer": "b"}, "question",
         "instruction=question input=context answer=answer"),
        ({"id": 1, "PROMPT": "a", "Completion": "b"}, "question", "instruction=PROMPT answer=Completion"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "question", "instruction=prompt answer=chosen"),
        ({"chosen": "b", "response": "r", "prompt": "a"}, "question", "instruction=prompt answer=response"),
        ({"query": "a", "response": "b", "original_question": "o"}, "question", "instruction=query answer=response"),
        ({"user": "a", "assistant": "b"}, "question", "instruction=user answer=assistant"),
        ({"human": "a", "bot": "b"}, "question", "instruction=human answer=bot"),
        ({"Problem": "a", "Solution": "b", "answer": "4"}, "question", "instruction=Problem answer=Solution"),
        ({"article": "a", "highlights": "b", "id": "x"}, "question", "instruction=article answer=highlights"),
        ({"document": "a", "summary": "b"}, "question", "instruction=document answer=summary"),
        ({"sentence": "a", "translation": "b"}, "question", "instruction=sentence answer=translation"),
        ({"source": "a", "target": "b"}, "question", "instruction=source answer=target"),
        ({"input": "a", "output": "b"}, "question", "instruction=input answer=output"),
        ({"q": 1, "a": 2}, "question", "instruction=q answer=a"),
        ({"질문": "왜?", "답변": "그냥."}, "question", "instruction=질문 answer=답변"),
        ({"data": {"question": "a", "answer": "b"}}, "question", "instruction=data.question answer=data.answer"),
        ({"messages": CHAT}, "messages", "messages=messages"),
        ({"messages": []}, "messages", "messages=messages"),
        ({"conversations": [], "text": "a"}, "sharegpt", "messages=conversations"),
        ({"messages": "a", "instruction": "a", "output": "b"}, "alpaca", "instruction=instruction answer=output"),
        ({"history": CHAT, "question": "a", "answer": "b"}, "question", "instruction=question answer=answer"),
        ({"log": CHAT, "id": 3}, "messages", "messages=log"),
        ({"prompt": "a", "messages": CHAT}, "messages", "messages=messages"),
        ({"Chat": json.dumps(CHAT)}, "messages", "messages=Chat"),
        ({"conversation": str(SHARED), "system": "s"}, "sharegpt", "messages=conversation system=system"),
        ({"conversations": {"from": ["human", "gpt"], "value": ["a", "b"]}}, "sharegpt", "messages=conversations"),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "messages", "prompt=prompt messages=completion"),
        ({"prompt": "hi", "chosen": CHAT, "rejected": CHAT}, "messages", "prompt=prompt messages=chosen"),
        ({"chosen": CHAT, "rejected": CHAT}, "messages", "messages=chosen"),
        ({"conversations": SHARED[:1], "chosen": SHARED[1], "rejected": SHARED[1]}, "sharegpt",
         "prompt=conversations messages=chosen"),
        ({"messages": CHAT[:1], "chosen": CHAT[1], "rejected": CHAT[1], "system": "s"}, "messages",
         "prompt=messages messages=chosen system=system"),
        ({"messages": CHAT[:1], "chosen": CHAT[1:], "rejected": CHAT[1:]}, "messages",
         "prompt=messages messages=chosen"),
        ({"conversations": SHARED[:1], "chosen": "b", "rejected": "c"}, "sharegpt",
         "prompt=conversations messages=chosen"),
        ({"messages": CHAT, "chosen": "gold"}, "messages", "messages=messages"),
        ({"messages": CHAT, "chosen": {"model": "m"}}, "messages", "messages=messages"),
        ({"prompt": CHAT[:1], "chosen": "b", "rejected": "c"}, "messages", "prompt=prompt messages=chosen"),
        ({"prompt": "hi", "chosen": CHAT[1], "rejected": CHAT[1]}, "messages", "prompt=prompt messages=chosen"),
        ({"prompt": "hi", "chosen": {"text": "b", "score": 1}, "rejected": {"text": "c", "score": 0}}, "messages",
         "prompt=prompt messages=chosen"),
        ({"history": CHAT[:1], "chosen": CHAT[1], "rejected": CHAT[1]}, "messages", "prompt=history messages=chosen"),
        ({"question": "a", "chosen": SHARED[1], "rejected": SHARED[1]}, "sharegpt",
         "instruction=question messages=chosen"),
        ({"instruction": "a", "input": "i", "chosen": CHAT[1:], "rejected": CHAT[1:]}, "messages",
         "instruction=instruction input=input messages=chosen"),
        ({"source": "web pages", "chosen": CHAT, "rejected": CHAT}, "messages", "messages=chosen"),
        ({"text": "a"}, "text", "text=text"),
        ({"title": "t", "text": "a"}, "text", "title=title text=text"),
        ({"id": 1, "url": "http://a.b/c", "Body": "a"}, "text", "text=Body"),
        ({"lyrics": "la la"}, "text", "text=lyrics"),
        ({"song_id": "A1b", "lyrics": "la la"}, "text", "text=lyrics"),
        ({"text": LONG, "register": "low"}, "text", "text=text"),
    ],
)  # fmt: skip
def test_shapes_by_name_and_content(row, name, columns):
    shape = shape_of(row)
    assert (shape.name, " ".join(f"{role}={column}" for role, column in shape.columns.items())) == (name, columns)
    assert shape.is_sure


@pytest.mark.parametrize(
    ("row", "columns", "reason"),
    [
        ({"front": "a word", "back": "another"}, {"instruction": "front", "answer": "back"},
         'a guess from the order of the columns: "front" is the question, "back" is the answer'),
        ({"": "a word", "back": "another"}, {"instruction": "", "answer": "back"},
         'a guess from the order of the columns: "" is the question, "back" is the answer'),
        ({"kind": "x", "much": LONG, "id": "a1", "more": LONG + LONG}, {"instruction": "much", "answer": "more"},
         ('a guess from the two longest columns, in their order: "much" is the question, "more" is the answer, '
          "not used: kind")),
        ({"translation": {"en": "a dog", "ko": "개"}}, {"instruction": "translation.en", "answer": "translation.ko"},
         'a guess from the order of the columns: "translation.en" is the question, "translation.ko" is the answer'),
        ({"text": "good food", "label": 1}, {"instruction": "text", "answer": "label"},
         'a guess from the names: "text" is the question, "label" is the answer'),
        ({"description": "a pump", "cost": "$ 12"}, {"instruction": "description", "answer": "cost"},
         ('a guess, because one column has words and the other does not: "description" is the question, '
          '"cost" is the answer')),
        ({"question": "a", "answers": ["b", "c"]}, {"instruction": "question", "answer": "answers"},
         'a guess, because the fields are lists or objects: "question" is the question, "answers" is the answer'),
        ({"a": "Once upon", "b": 5, "c": 6}, {"text": "a"},
         'a guess: only "a" has words in it, and all of it is trained on'),
        ({"chosen": "x y", "rejected": "z w"}, {"text": "chosen"},
         'a guess: only "chosen" has words in it, and all of it is trained on'),
    ],
)  # fmt: skip
def test_a_guess_says_that_it_is_one(row, columns, reason):
    shape = shape_of(row)
    assert (shape.columns, shape.reason, shape.is_sure) == (columns, reason, False)


@pytest.mark.parametrize(
    ("row", "reason", "is_sure"),
    [
        ({"question": "a", "choices": ["x", "y"], "answer": 1, "subject": "math"},
         '"question" is the question, "answer" is the answer, the column choices is not used', False),
        ({"question": "a", "hints": ["x", "y"], "options": "x y", "answer": "x"},
         '"question" is the question, "answer" is the answer, the columns hints, options are not used', False),
        ({"question": "a", "option_a": "x", "option_b": "y", "answer": "x"},
         '"question" is the question, "answer" is the answer, the columns option_a, option_b are not used', False),
        ({"question": "a", "answer": "b", "label": "c", "doc_id": "d"},
         '"question" is the question, "answer" is the answer, not used: label', True),
        ({"question": "a", "answer": "b", "v": "w", "w": "w", "x": "w", "y": "w", "z": "w"},
         '"question" is the question, "answer" is the answer', True),
        ({"prompt": "a", "chosen": "b", "rejected": "c"},
         '"prompt" is the question, "chosen" is the answer, not used: rejected', True),
        ({"conversations": SHARED[:1], "chosen": SHARED[1], "rejected": SHARED[1]},
         '"conversations" has the turns of a chat, "chosen" is the answer, not used: rejected', True),
        ({"question": "a", "chosen": CHAT[1], "rejected": CHAT[1]},
         '"question" is the question, "chosen" is the answer, not used: rejected', True),
        ({"messages": CHAT, "topic": "c"}, '"messages" has the turns of a chat, not used: topic', True),
        ({"text": LONG, "register": "low"},
         '"text": all of it is trained on, as in continued pretraining, not used: register', True),
        ({"id0": {"instruction": "a"}, "id1": {"output": "b"}},
         ('a guess, because several objects have such columns: "id0.instruction" is the question, '
          '"id1.output" is the answer'), False),
        ({"id0": {"instruction": "a", "output": "b"}, "id1": {"instruction": "a", "output": "b"}},
         ('a guess, because several objects have such columns: "id0.instruction" is the question, '
          '"id0.output" is the answer, not used: id1.instruction, id1.output'), False),
        ({"data": {"question": "a", "answer": "b"}},
         '"data.question" is the question, "data.answer" is the answer', True),
    ],
)  # fmt: skip
def test_the_reason_names_what_is_not_used(row, reason, is_sure):
    shape = shape_of(row)
    assert (shape.reason, shape.is_sure) == (reason, is_sure)


def test_choices_that_the_person_takes_as_input_are_used():
    shape = shape_of({"question": "a", "choices": ["x", "y"], "answer": 1}, input_column="choices")
    assert (shape.columns["input"], shape.reason, shape.is_sure) == (
        "choices",
        '"question" is the question, "answer" is the answer',
        True,
    )


def test_most_rows_decide_what_a_column_holds():
    rows = [{"id": i, "body": None if i % 2 else "some words"} for i in range(9)]
    assert shape_of(*rows).columns == {"text": "body"}
    assert shape_of({}, {"Q": "a"}, {"A": "b", "Q": "c"}).columns == {"instruction": "Q", "answer": "A"}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("words", "text"), ("개", "text"), ("12", "value"), ("$12.50", "value"), ("1e5", "value"), (" \n", "empty"),
        ("2024-01-02 10:11:12", "value"), ("3/4/99", "value"), ("10:30", "value"), ("10:30 lunch", "text"),
        (0, "value"),
        (False, "value"), (float("nan"), "empty"), ("NaN", "value"), ("https://a.b/c", "value"), (None, "empty"),
        ({}, "empty"), ([], "empty"), ([1], "object"), (CHAT, "turns"), (json.dumps(SHARED), "turns"),
        (str(CHAT), "turns"),
        ("[1] words", "text"), ("[{'role': ", "text"), ("[" * 20_000, "value"), ('[{"role": "user"}]', "text"),
    ],
)  # fmt: skip
def test_what_a_value_is(value, kind):
    assert kind_of(value) == kind


def test_turns_in_text_and_in_columns():
    assert as_turns("  " + json.dumps(CHAT)) == CHAT
    assert as_turns(str([{"role": "user", "content": None}])) == [{"role": "user", "content": None}]
    assert as_turns({"role": ["user", "assistant"], "content": ["hi", "yo"]}) == CHAT
    assert as_turns({"role": ["user"], "content": ["hi", "yo"]}) is None


def test_nested_objects_are_columns_down_to_a_depth():
    row = {"a": {"b": {"c": {"d": {"e": "deep"}}}}, "x": {}, "n": 3}
    assert [(column.name, column.kind) for column in columns_of([row])] == [
        ("a.b.c.d", "object"), ("x", "empty"), ("n", "value"),
    ]  # fmt: skip


# What the person chose


def test_the_persons_choice_goes_first():
    row = {"question": "a", "answer": "b", "notes": "c", "mood": "d", "deep": {"er": "e"}}
    shape = shape_of(row, instruction_column="notes", answer_column="mood", system_column="deep.er")
    assert (shape.name, shape.is_sure, shape.columns) == (
        "question", True, {"instruction": "notes", "answer": "mood", "system": "deep.er"},
    )  # fmt: skip
    assert shape.reason == 'you chose: "notes" is the question, "mood" is the answer, "deep.er" is the system prompt'
    shape = shape_of(row, text_column="notes")
    assert (shape.name, shape.columns) == ("text", {"text": "notes"})
    assert shape.reason == 'you chose "notes", and all of it is trained on'
    shape = shape_of(row, input_column="notes", answer_column="mood")
    assert shape.reason == 'you chose: "notes" is the question, "mood" is the answer'


def test_a_part_chosen_goes_with_what_is_recognised():
    shape = shape_of({"Q": "a", "A": "b", "persona": "c", "more": "d"}, system_column="persona", input_column="more")
    assert shape.columns == {"instruction": "Q", "answer": "A", "system": "persona", "input": "more"}
    shape = shape_of({"messages": CHAT, "persona": "c"}, system_column="persona")
    assert (shape.name, shape.columns) == ("messages", {"messages": "messages", "system": "persona"})


@pytest.mark.parametrize(
    ("row", "settings", "values"),
    [
        ({"question": "a", "answer": "b"}, {"instruction_column": "qestion", "answer_column": "answer"},
         {"column": "qestion", "near": "question", "columns": "question, answer"}),
        ({"a": {"c": "x"}}, {"text_column": "a.b"}, {"column": "a.b", "near": "a.c", "columns": "a.c"}),
        ({"question": "a", "answer": "b"}, {"text_column": "zzz"}, {"column": "zzz", "columns": "question, answer"}),
        ({"q": "a", "r": "b"}, {"answer_column": "r"}, {"answer": "r"}),
        ({"q": "a", "r": "b"}, {"instruction_column": "q"}, {"instruction": "q"}),
        ({"q": "a", "r": "b"}, {"text_column": "q", "answer_column": "r", "system_column": "r"},
         {"text": "q", "others": "'r', 'r'"}),
        ({"text": "a", "persona": "b"}, {"system_column": "persona", "text_column": "text"},
         {"text": "text", "others": "'persona'"}),
        ({"text": LONG, "persona": "b"}, {"system_column": "persona"},
         {"chosen": "'persona'", "reason": '"text": all of it is trained on, as in continued pretraining'}),
        ({"step": 1, "loss": 2.5}, {}, {"columns": "step, loss"}),
        ({}, {}, {}),
        ({"Q": 1}, {"prompt_template": "{A} of {Q}"}, {"column": "A", "columns": "Q"}),
        ({"instruction": "a", "output": "b"}, {"prompt_template": "{ instruction }"},
         {"column": " instruction ", "near": "instruction", "columns": "instruction, output"}),
        ({"instruction": "a", "output": "b"}, {"prompt_template": "{output} {Instruction}"},
         {"column": "Instruction", "near": "instruction", "columns": "instruction, output"}),
        ({"instruction": "a", "output": "b"}, {"input_column": "instruction"}, {"column": "instruction"}),
        ({"Q": 1}, {"prompt_template": "{Q"}, {"reason": "expected '}' before end of string"}),
        ({"Q": 1}, {"prompt_template": "{{Q}}"}, {}),
        ({"Q": 1}, {"prompt_template": "lama"}, {"prompt": "lama", "known": "chat, alpaca, alpaca_korean"}),
    ],
)  # fmt: skip
def test_choices_that_do_not_fit_are_refused_in_one_sentence(row, settings, values):
    error = refusal(row, **settings)
    assert error.values == values
    assert str(error).endswith(".") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("row", "settings", "column", "role"),
    [
        ({"q": "a", "r": "b"}, {"instruction_column": "q", "answer_column": "q"}, "q", "question"),
        ({"instruction": "a", "output": "b"}, {"input_column": "output"}, "output", "question"),
        ({"d": {"question": "a", "answer": "b"}}, {"input_column": "d"}, "d", "question"),
        ({"instruction": "a", "output": "b"}, {"system_column": "output"}, "output", "system"),
        ({"messages": CHAT}, {"system_column": "messages"}, "messages", "system"),
        ({"q": "a", "r": "b"}, {"instruction_column": "q", "answer_column": "r", "system_column": "r"}, "r", "system"),
    ],
)  # fmt: skip
def test_a_column_cannot_be_the_answer_and_something_else(row, settings, column, role):
    error = refusal(row, **settings)
    assert error.values == {"column": column} and role in error.template


def test_the_name_in_braces_is_shown_in_braces():
    assert "{A}" in str(refusal({"Q": 1}, prompt_template="{A} of {Q}"))
    assert "{column}" in str(refusal({"Q": 1}, prompt_template="lama"))


def test_no_rows():
    assert refusal().values == {}


def test_many_columns_are_not_all_listed():
    columns = "c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11 and 18 more"
    assert refusal({f"c{n}": n for n in range(30)}).values == {"columns": columns}


@pytest.mark.parametrize("prompt", ["{}", "{ }", "{Q:d}", "{Q!x}", "{Q[0]}", '{"json": {Q}}'])
def test_braces_contain_the_name_of_a_column_and_nothing_else(prompt):
    error = refusal({"Q": "words"}, prompt_template=prompt)
    assert str(error) == error.template == ONLY_NAMES_IN_BRACES


@pytest.mark.parametrize("name", ["0", "Q.real", "Q.0"])
def test_a_name_that_no_column_has(name):
    assert refusal({"Q": "words"}, prompt_template=f"{{{name}}}").values == {"column": name, "columns": "Q"}


def test_the_columns_of_a_prompt():
    assert template_columns("{{{Q}}} {n} {Q}") == ["Q", "n"]
    shape = shape_of({"Q": "a"}, {"n": 1}, prompt_template="{{{Q}}} {n} {Q}")
    assert (shape.name, shape.reason, shape.is_sure) == ("columns", "the prompt uses Q, n from each row", True)
