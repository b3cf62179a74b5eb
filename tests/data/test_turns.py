"""Conversations in the many forms of published datasets, converted to messages."""

import json

import pytest

from core.data.columns.field_values import MISSING, as_text, lookup
from core.data.prepared.conversations import ROLE_NAMES, messages_of, tools_of
from core.problems import TemplateError

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def reason(value, read=messages_of) -> str:
    with pytest.raises(TemplateError) as caught:
        read(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "role"),
    [
        ("human user User prompter PROMPTER", "user"),
        ("gpt chatgpt assistant bot model bing bard claude GPT-4 Assistant", "assistant"),
        ("system System developer", "system"),
        ("tool function ipython observation function_response tool_response Function-Response", "tool"),
    ],
)
def test_the_names_of_the_roles(names, role):
    for name in names.split():
        assert messages_of([{"from": name, "value": "a"}]) == [said(role, "a")]
        assert messages_of([{"role": name, "content": "a"}]) == [said(role, "a")]
    assert set(ROLE_NAMES.values()) == {"system", "user", "assistant", "tool", "call"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"), ("", ""), (7, "7"), (7.0, "7.0"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "text", "value": "a"}], "a"), (["a", {"text": "b"}], "ab"),
        ([{"type": "input_text", "text": "a"}], "a"),
        ({"found": [1, "é"]}, '{"found": [1, "é"]}'), ([{"id": 1}], '[{"id": 1}]'), ("{{ 7*7 }}", "{{ 7*7 }}"),
    ],
)  # fmt: skip
def test_the_forms_of_a_content(content, text):
    assert messages_of([said("user", content)]) == [said("user", text)]


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (None, "no messages"), ("words", "no messages"), ([], "no messages"), (["hi", "yo"], "no messages"),
        ({"role": "user", "content": "a"}, "no messages"), ([[]], "no messages"), ([{"role": "user"}], "no messages"),
        ([said(None, "a")], "a message without a known role"),
        ([said("narrator", "a")], "a message without a known role"),
        ([said(["user"], "a")], "a message without a known role"),
        ([said("user", "a"), 3], "a message without a known role"),
        ([said("user", None)], "a message whose content is not text"),
        ([said("user", [["a"]])], "a message whose content is not text"),
        ([said("user", [{"type": "text", "text": 3}])], "a message whose content is not text"),
        ([said("user", [{"type": "image_url", "image_url": {"url": "x"}}])], "a message with an image"),
        ([said("user", [{"type": "text", "text": "a"}, {"type": "image"}])], "a message with an image"),
        ([said("user", [{"type": "input_audio"}])], "a message with audio"),
        ([said("user", [{"type": "video"}])], "a message with a video"),
        ([said("user", [{"type": "widget: 7"}])], "a message with a part that is not text: widget: 7"),
        ([said("assistant", None, tool_calls=[{"function": {"arguments": "{}"}}])], "a tool call without a name"),
        ([said("function_call", '{"arguments": 1}')], "a tool call without a name"),
    ],
)  # fmt: skip
def test_turns_that_cannot_be_read_give_a_reason(turns, words):
    assert reason(turns) == words


@pytest.mark.parametrize(
    "turn",
    [
        said("assistant", None,
             tool_calls=[{"id": "x", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]),
        said("assistant", "", tool_calls=[{"id": "x", "function": {"name": "add", "arguments": {"a": 1}}}]),
        said("gpt", None, tool_calls=json.dumps([{"id": "x", "name": "add", "parameters": {"a": 1}}])),
    ],
)  # fmt: skip
def test_calls_in_the_form_of_openai(turn):
    assert messages_of([turn]) == [said("assistant", "", tool_calls=[{"id": "x", **CALL}])]


@pytest.mark.parametrize(
    "turn",
    [
        said("assistant", None, function_call={"name": "add", "arguments": '{"a": 1}'}, tool_calls=None),
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
        {"from": "tool-call", "value": [{"name": "add", "arguments": {"a": 1}}]},
    ],
)
def test_older_forms_of_a_call(turn):
    assert messages_of([turn]) == [said("assistant", "", tool_calls=[CALL])]


def test_several_calls_and_words_beside_them():
    (message,) = messages_of([said("assistant", "Let me see.", tool_calls=[CALL, CALL])])
    assert message == said("assistant", "Let me see.", tool_calls=[CALL, CALL])


def test_a_call_that_is_no_json_stays_as_it_is():
    assert messages_of([{"from": "function_call", "value": "add(1, 2)"}]) == [said("assistant", "add(1, 2)")]


def test_fields_that_arrow_fills_with_nothing_do_not_count():
    turn = {"role": "assistant", "content": "a", "tool_calls": None, "function_call": None, "weight": None}
    assert messages_of([turn]) == [said("assistant", "a")]


@pytest.mark.parametrize("key", ["weight", "loss", "loss_weight", "loss_scale", "loss_mask", "train", "training",
                                 "trainable"])  # fmt: skip
@pytest.mark.parametrize("no", [0, 0.0, False, "false", "0"])
def test_an_answer_that_is_not_trained_on(key, no):
    for yes in (1, 0.5, True, "true", None, [], "some"):
        turns = [said("user", "q", **{key: no}), said("assistant", "a", **{key: no}), said("gpt", "b", **{key: yes})]
        assert messages_of(turns) == [said("user", "q"), said("assistant", "a", weight=0), said("assistant", "b")]


def test_other_ways_to_mark_an_answer_that_is_not_trained_on():
    turns = [said("assistant", "a", masked=True), said("assistant", "b", masked=False), said("user", "q", masked=True)]
    assert messages_of(turns) == [said("assistant", "a", weight=0), said("assistant", "b"), said("user", "q")]
    columns = {"from": ["human", "gpt", "gpt"], "value": ["q", "a", "b"], "loss": [None, False, True]}
    assert messages_of(columns) == [said("user", "q"), said("assistant", "a", weight=0), said("assistant", "b")]
    call = {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}', "loss": False}
    assert messages_of([call]) == [said("assistant", "", tool_calls=[CALL], weight=0)]


def test_tools():
    numbers = {"type": "object", "properties": {"a": {"type": "integer"}}}
    bare = {"name": "add", "description": "adds", "parameters": numbers}
    tool = {"type": "function", "function": bare}
    for value in ([bare], [tool], json.dumps([bare]), json.dumps(tool), [json.dumps(tool)], bare):
        assert tools_of(value) == [tool]
    assert tools_of([{"name": "now"}]) == [
        {"type": "function", "function": {"name": "now", "description": "",
         "parameters": {"type": "object", "properties": {}}}}
    ]  # fmt: skip
    assert [tools_of(value) for value in (None, "", " ", [], "[]", MISSING)] == [None] * 6
    for value in ("search", 7, [7], [{}], ["x"]):
        assert reason(value, tools_of) == "tools that are not a list of functions"


def test_what_real_tool_rows_hold(shared_data):
    rows = json.loads((shared_data / "sharegpt/glaive_toolcall_en_demo.json").read_text(encoding="utf-8"))
    messages = [messages_of(row["conversations"]) for row in rows]
    calls = [turn for row in rows for turn in row["conversations"] if turn["from"] == "function_call"]
    found = [call["function"] for row in messages for message in row for call in message.get("tool_calls", ())]
    assert len(calls) == len(found) > 100
    assert found == [json.loads(turn["value"]) for turn in calls]
    assert [tool["function"] for row in rows for tool in tools_of(row["tools"]) or ()] == [
        tool for row in rows for tool in json.loads(row["tools"])
    ]


def test_fields_as_text_and_by_dotted_name():
    assert [as_text(value) for value in (None, float("nan"), 7, 7.0, True, "a", ["é", None], MISSING)] == [
        "", "", "7", "7.0", "True", "a", '["é", null]', "",
    ]  # fmt: skip
    values = {"a": {"b": {"c": 1}}, "x.y": 3}
    assert [lookup(values, name) for name in ("a.b.c", "x.y")] == [1, 3]
    assert [lookup(values, name) for name in ("a.z", "x", "a.b.c.d")] == [MISSING] * 3
