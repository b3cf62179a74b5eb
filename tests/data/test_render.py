"""The text that the model sees of a row: exact pieces in the published formats, and the reasons to leave rows out."""

import json
from collections import Counter

import pytest

from core.data.columns.field_values import special_token_in, special_tokens_of
from core.data.columns.recognise import recognise
from core.data.prepared.render import render
from core.data.prompts.prompt_templates import TEMPLATES, prompt_text
from core.problems import TemplateError
from core.settings.sections import DataConfig
from tests.conftest import PROJECT

ALPACA = TEMPLATES["alpaca"]
INTRO = "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request."
INTRO_KOREAN = "<s>다음은 작업을 설명하는 명령입니다. 요청을 적절하게 완료하는 응답을 작성하세요."
HEAD = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)
TURN = "<|start_header_id|>{}<|end_header_id|>\n\n"
ASK = TURN.format("assistant")
NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"name": "add", "description": "Adds.", "parameters": NUMBERS}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}

# Two more families of templates, as many published Llamas have them: strict turns without a generation prompt, where
# the system prompt moves into the first question; and named turns with a line end after the end mark.
STRICT = """{% set talk = messages %}{% set opening = '' %}
{%- if talk[0].role == 'system' %}{% set opening = '<<SYS>>\n' ~ talk[0].content ~ '\n<</SYS>>\n\n' %}
{%- set talk = talk[1:] %}{% endif %}
{%- for turn in talk %}
{%- if turn.role != ('assistant' if loop.index0 % 2 else 'user') %}
{{- raise_exception('Turns must alternate') }}{% endif %}
{%- if turn.role == 'user' %}
{{- bos_token ~ '[INST] ' ~ (opening if loop.first else '') ~ turn.content.strip() ~ ' [/INST]' }}
{%- else %}{{ ' ' ~ turn.content.strip() ~ ' ' ~ eos_token }}{% endif %}{% endfor %}"""
NAMED = (
    "{% for turn in messages %}{{ '<|im_start|>' ~ turn.role ~ '\n' ~ turn.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINKING = (
    "{% for turn in messages %}{{ '<' ~ turn.role ~ '>' ~ "
    "(turn.content if loop.last else turn.content.split('</think>')[-1]) ~ '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def pieces_of(row: dict, tokenizer, **settings):
    config = DataConfig(**settings)
    return render(row, recognise([row], config), config, tokenizer)


def chat(*turns, tokenizer, **more):
    """Pieces of messages given as (role, content), or as whole messages."""
    messages = [turn if isinstance(turn, dict) else {"role": turn[0], "content": turn[1]} for turn in turns]
    return pieces_of({"messages": messages, **more}, tokenizer)


def said(role: str, content: str) -> dict:
    return {"role": role, "content": content}


def trained(pieces) -> list[str]:
    return [text for text, is_trained in pieces if is_trained]


def whole(pieces) -> str:
    return "".join(text for text, _ in pieces)


def reason(render_it, *arguments, **settings) -> str:
    with pytest.raises(TemplateError) as caught:
        render_it(*arguments, **settings)
    return str(caught.value)


@pytest.fixture
def with_template(chat_tokenizer):
    def change(template: str, eos_token: str = "</s>"):
        chat_tokenizer.chat_template, chat_tokenizer.bos_token, chat_tokenizer.eos_token = template, "<s>", eos_token
        return chat_tokenizer

    return change


@pytest.fixture(params=["hermes", "llama31", "llama32", "llama33", "demo", "strict", "named"])
def any_tokenizer(request, chat_tokenizer, chat_templates):
    files = {
        "hermes": chat_templates / "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
        "llama31": chat_templates / "meta-llama-Llama-3.1-8B-Instruct.jinja",
        "llama32": chat_templates / "meta-llama-Llama-3.2-3B-Instruct.jinja",
        "llama33": chat_templates / "meta-llama-Llama-3.3-70B-Instruct.jinja",
        "demo": PROJECT / "presets/demo-llama/chat_template.jinja",
    }
    texts = {"strict": STRICT, "named": NAMED}
    chat_tokenizer.chat_template = texts.get(request.param) or files[request.param].read_text(encoding="utf-8")
    return chat_tokenizer


# Questions and answers


def test_alpaca_rows_in_the_chat_template(chat_tokenizer):
    row = {"instruction": " Add. ", "input": "1 2", "output": "3", "system": "Be brief."}
    assert pieces_of(row, chat_tokenizer) == [
        (HEAD + "Be brief.<|eot_id|>" + TURN.format("user") + "Add.\n\n1 2<|eot_id|>" + ASK, False),
        ("3<|eot_id|>", True),
    ]  # fmt: skip
    assert pieces_of({"instruction": "Hi", "output": 7}, chat_tokenizer) == [
        (HEAD + "<|eot_id|>" + TURN.format("user") + "Hi<|eot_id|>" + ASK, False), ("7<|eot_id|>", True),
    ]  # fmt: skip


def test_the_alpaca_prompts_word_for_word(tokenizer):
    row = {"Q": "Say red.", "A": "red"}
    assert pieces_of(row, tokenizer, prompt_template="alpaca") == [
        (INTRO + "\n\n### Instruction:\nSay red.\n\n### Response:\n", False),
        ("red</s>", True),
    ]  # fmt: skip
    assert pieces_of(row, tokenizer, prompt_template="alpaca_korean") == [
        (INTRO_KOREAN + "\n\n### 지침:\nSay red.\n\n### 응답:\n", False),
        ("red</s>", True),
    ]  # fmt: skip


def test_a_conversation_in_the_alpaca_prompt(tokenizer):
    turns = [("system", "Hi."), ("user", "a "), ("assistant", "b"), ("system", "Now."), ("user", "c"), ("user", "d"),
             ("assistant", ""), ("assistant", "e"), ("user", "f")]  # fmt: skip
    messages = [{"role": role, "content": content} for role, content in turns]
    assert ALPACA.pieces(messages, tokenizer) == [
        ("<s>Hi.\n\n### Instruction:\na\n\n### Response:\n", False),
        ("b</s>", True),
        ("\n\nNow.\n\n### Instruction:\nc\n\n### Instruction:\nd\n\n### Response:\n</s>\n\n### Response:\n", False),
        ("e</s>", True),
    ]
    assert ALPACA.prompt(messages[:2], tokenizer) == ALPACA.pieces(messages, tokenizer)[0][0]


def test_other_columns_are_taken_by_their_role(tokenizer):
    row = {"translation": {"en": "dog", "ko": "개"}, "who": "You translate."}
    settings = {"instruction_column": "translation.en", "answer_column": "translation.ko", "system_column": "who"}
    assert pieces_of(row, tokenizer, prompt_template="alpaca", **settings) == [
        ("<s>You translate.\n\n### Instruction:\ndog\n\n### Response:\n", False), ("개</s>", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "text"), [(7, "7"), (7.0, "7.0"), (False, "False"), ({"a": ["é"]}, '{"a": ["é"]}'), (0, "0")]
)
def test_answers_that_are_not_text_are_converted(tokenizer, answer, text):
    config = DataConfig(instruction_column="q", answer_column="a", prompt_template="alpaca")
    shape = recognise([{"q": "x", "a": answer}], config)
    assert trained(render({"q": "x", "a": answer}, shape, config, tokenizer)) == [text + "</s>"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"instruction": "a", "output": ""}, "no answer"), ({"instruction": "a", "output": " \n"}, "no answer"),
        ({"instruction": "a", "output": None}, "no answer"),
        ({"instruction": "a", "output": float("nan")}, "no answer"),
        ({"instruction": "", "output": "b"}, "no instruction"),
        ({"instruction": None, "input": " ", "output": "b"}, "no instruction"),
        ({"instruction": "a"}, "a field is missing: output"), ({"output": "b"}, "a field is missing: instruction"),
        ({}, "a field is missing: instruction"),
    ],
)  # fmt: skip
def test_rows_with_nothing_to_train_on(tokenizer, row, words):
    config = DataConfig(prompt_template="alpaca")
    shape = recognise([{"instruction": "a", "input": "", "output": "b"}], config)
    assert reason(render, row, shape, config, tokenizer) == words


def test_an_input_alone_is_a_question(tokenizer):
    row = {"instruction": "", "input": "1 + 1", "output": "2"}
    text = whole(pieces_of(row, tokenizer, prompt_template="alpaca"))
    assert text.endswith("\n\n### Instruction:\n1 + 1\n\n### Response:\n2</s>")


# Plain text


def test_plain_text_is_trained_on_as_a_whole(tokenizer):
    assert pieces_of({"text": " a\nb "}, tokenizer) == [("<s> a\nb </s>", True)]
    assert pieces_of({"title": " T ", "text": "a"}, tokenizer) == [("<s>T\n\na</s>", True)]
    assert pieces_of({"title": "", "text": "a"}, tokenizer) == [("<s>a</s>", True)]
    shape, config = recognise([{"title": "T", "text": "a"}], DataConfig()), DataConfig()
    assert reason(render, {"title": "T", "text": " "}, shape, config, tokenizer) == "no text"
    assert reason(render, {"title": "T"}, shape, config, tokenizer) == "a field is missing: text"


def test_a_prompt_of_columns(tokenizer):
    config = DataConfig(prompt_template="{{{Q}}} {n} {Q}")
    rows = [{"Q": "{who}", "n": 3}, {"Q": None, "n": 0}, {"n": 1}, {"Q": float("nan")}]
    shape = recognise(rows, config)
    assert [render(row, shape, config, tokenizer) for row in rows[:3]] == [
        [("<s>{{who}} 3 {who}</s>", True)], [("<s>{} 0 </s>", True)], [("<s>{} 1 </s>", True)],
    ]  # fmt: skip
    assert reason(render, rows[3], shape, config, tokenizer) == "no text"


def test_a_prompt_takes_any_name_that_a_column_has(tokenizer):
    row = {"0": "a", "1": "b", "deep": {"er": "c"}, "price: $": 7, "x[1]": "e"}
    pieces = pieces_of(row, tokenizer, prompt_template="{0}-{1} {deep.er} {price: $} {x[1]} {{0}}")
    assert pieces == [("<s>a-b c 7 e {0}</s>", True)]


# Marks that the rows have already


@pytest.mark.parametrize("text", ["a", "<s>a", "a</s>", "<s>a</s>", "\n <s>a</s> \n"])
def test_marks_are_added_to_a_text_only_where_they_are_missing(tokenizer, text):
    assert pieces_of({"text": text}, tokenizer) == [("<s>a</s>", True)]
    assert whole(pieces_of({"title": "T", "text": text}, tokenizer)) == "<s>T\n\na</s>"
    for template in ("{q}", "<s>{q}", "{q}</s>", "<s>{q}</s>"):
        assert whole(pieces_of({"q": text}, tokenizer, prompt_template=template)).count("<s>") <= 2
        if not (template.startswith("<s>") and "<s>" in text) and not (template.endswith("</s>") and "</s>" in text):
            assert pieces_of({"q": text}, tokenizer, prompt_template=template) == [("<s>a</s>", True)]


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("a</s>b", "<s>a</s>b</s>"),
        ("<s>a</s>b", "<s>a</s>b</s>"),
        ("a<s>b", "<s>a<s>b</s>"),
        (
            "<s>[INST] a [/INST] b </s><s>[INST] c [/INST] d </s>",
            "<s>[INST] a [/INST] b </s><s>[INST] c [/INST] d </s>",
        ),
        ("</s>a", "<s></s>a</s>"),
        ("a<s>", "<s>a<s></s>"),
    ],
)
def test_marks_in_the_middle_of_a_text_stay(tokenizer, text, rendered):
    assert pieces_of({"text": text}, tokenizer) == [(rendered, True)]
    assert pieces_of({"q": text}, tokenizer, prompt_template="{q}") == [(rendered, True)]


def test_a_model_without_marks_gets_none(tokenizer):
    tokenizer.bos_token = None
    assert pieces_of({"text": "<s>a"}, tokenizer) == [("<s>a</s>", True)]
    assert pieces_of({"instruction": "<s>a", "output": "b"}, tokenizer, prompt_template="alpaca")[1] == ("b</s>", True)
    tokenizer.eos_token = None
    assert pieces_of({"text": "<s>a "}, tokenizer) == [("<s>a ", True)]
    assert pieces_of({"q": "a", "b": "<s>b"}, tokenizer, prompt_template="{q} {b}") == [("a <s>b", True)]
    tokenizer.bos_token = tokenizer.eos_token = "<s>"  # one token for both, as GPT-2 has
    assert [whole(pieces_of({"text": text}, tokenizer)) for text in ("a", "<s>a", "a<s>")] == ["<s>a<s>"] * 3


def test_fields_of_a_prompt_do_not_begin_a_text_within_it(tokenizer):
    row = {"q": "<s>a", "a": "<s> b</s>"}
    for template in ("Q: {q} A:{a}", "<s>Q: {q} A:{a}</s>", "<s>Q: {q} A:{a}"):
        text = whole(pieces_of(row, tokenizer, prompt_template=template))
        assert text.removesuffix("</s>").startswith("<s>Q: a A: b") and text.count("<s>") == 1
    assert whole(pieces_of(row, tokenizer, prompt_template="{a}{q}")) == "<s> b</s><s>a</s>"


def test_texts_rendered_before_stay_as_they_are(shared_cases, chat_tokenizer):
    path = shared_cases / "text_already_rendered.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert pieces_of(row, chat_tokenizer) == [(row["text"], True)]
        assert pieces_of(row, chat_tokenizer, prompt_template="{text}") == [(row["text"], True)]


@pytest.mark.parametrize("prompt", ["alpaca", "alpaca_korean"])
@pytest.mark.parametrize("end", ["</s>", "</s>\n", " </s> "])
def test_plain_prompts_add_marks_only_where_they_are_missing(tokenizer, prompt, end):
    row = {"system": "<s>Hi", "instruction": "<s>Say red.", "output": "<s>red"}
    clean = {"system": "Hi", "instruction": "Say red.", "output": "red" + end.rstrip()}
    expected = pieces_of(clean | {"output": "red"}, tokenizer, prompt_template=prompt)
    found = pieces_of({**row, "output": row["output"] + end}, tokenizer, prompt_template=prompt)
    assert found == [expected[0], (clean["output"], True)]
    assert [whole(found).count(mark) for mark in ("<s>", "</s>")] == [1, 1]


def test_chat_templates_end_an_answer_once(any_tokenizer):
    turns = [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    expected = chat(*turns, tokenizer=any_tokenizer)
    mark, bos = trained(expected)[-1].removeprefix(" ").removeprefix("d").strip(), any_tokenizer.bos_token
    assert mark in ("<|eot_id|>", "<|im_end|>")
    for end in (mark, f"{mark}\n", f" {mark}{mark}"):
        # The strict template adds no end to a question, and so none is taken from it.
        every = any_tokenizer.chat_template != STRICT
        ended = [(role, f"{bos}{text}{end}" if every or role == "assistant" else text) for role, text in turns]
        assert chat(*ended, tokenizer=any_tokenizer) == expected
    unanswered = [("user", "a"), ("assistant", f"b{mark}"), ("user", f"c{mark}")]
    assert chat(*unanswered, tokenizer=any_tokenizer) == chat(*turns[1:3], tokenizer=any_tokenizer)
    middle = [("user", "a"), ("assistant", f"b{mark}c")]
    assert trained(chat(*middle, tokenizer=any_tokenizer))[0].count(mark) == 2


def test_an_end_that_the_chat_template_does_not_add_stays(with_template):
    bare = with_template(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    assert trained(chat(("user", "a"), ("assistant", "b</s>"), tokenizer=bare)) == ["b</s>\n"]
    strict = with_template(STRICT)
    assert chat(("user", "a"), ("assistant", "b</s>"), tokenizer=strict)[1] == (" b </s>", True)
    assert chat(("user", "a</s>"), ("assistant", "b"), tokenizer=strict)[0] == ("<s>[INST] a</s> [/INST]", False)
    quoted = with_template(STRICT.replace("' ' ~ eos_token", "'\"'"))
    assert trained(chat(("user", "a"), ("assistant", 'say "b"'), tokenizer=quoted)) == [' say "b""']


def test_a_prompt_begins_once_too(chat_tokenizer):
    for prompt in ("chat", "alpaca", "{q}"):
        asked = [[{"role": "user", "content": text}] for text in ("a", "<|begin_of_text|>a")]
        first, second = (prompt_text(messages, prompt, chat_tokenizer) for messages in asked)
        assert first == second and first.count("<|begin_of_text|>") == 1


# Columns that only later rows have


@pytest.mark.parametrize(
    ("first", "row", "words"),
    [
        ({"instruction": "a", "output": "b"}, {"instruction": "a", "input": "c", "output": "b"}, "a\n\nc"),
        ({"instruction": "a", "output": "b"}, {"instruction": "a", "output": "b", "context": "c"}, "a\n\nc"),
        ({"instruction": "a", "output": "b"}, {"instruction": "a", "output": "b", "input": " "}, "a"),
        ({"input": "a", "output": "b"}, {"Context": "c", "input": "a", "output": "b", "inputs": "d"}, "a\n\nd"),
        ({"instruction": "a", "output": "b", "n": 1}, {"instruction": "a", "output": "b", "n": 1}, "a"),
    ],
)
def test_an_input_that_only_later_rows_have_is_asked(tokenizer, first, row, words):
    config = DataConfig(prompt_template="alpaca")
    shape = recognise([first] * 200, config)
    head = INTRO + "\n\n### Instruction:\n"
    assert render(row, shape, config, tokenizer) == [(head + words + "\n\n### Response:\n", False), ("b</s>", True)]


def test_a_system_prompt_and_a_title_that_only_later_rows_have(tokenizer):
    config = DataConfig(prompt_template="alpaca")
    row = {"question": "a", "answer": "b"}
    pieces = render({**row, "system_prompt": "Be kind."}, recognise([row], config), config, tokenizer)
    assert pieces[0][0] == "<s>Be kind.\n\n### Instruction:\na\n\n### Response:\n"
    for first in ({"text": "a"}, {"text": "a", "title": ""}):
        shape = recognise([first], DataConfig())
        assert render({"title": "T", "text": "a"}, shape, DataConfig(), tokenizer) == [("<s>T\n\na</s>", True)]


def test_a_system_prompt_and_tools_that_only_later_conversations_have(chat_tokenizer):
    turns = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    shape, more = recognise([turns], DataConfig()), {"system": "Be kind.", "functions": [ADD]}
    later = render({**turns, **more}, shape, DataConfig(), chat_tokenizer)
    assert (
        later == pieces_of({**turns, **more}, chat_tokenizer) and "Be kind." in later[0][0] and "Adds." in later[0][0]
    )


def test_if_columns_are_chosen_or_guessed_no_later_column_is_used(tokenizer):
    for row, settings in (
        ({"instruction": "a", "output": "b"}, {"instruction_column": "instruction", "answer_column": "output"}),
        ({"front": "a", "back": "b"}, {}),
        ({"instruction": "a", "output": "b", "input": [{"role": "user", "content": "x"}]}, {}),
    ):
        config = DataConfig(prompt_template="alpaca", **settings)
        shape = recognise([row], config)
        more = render({**row, "input": "c"}, shape, config, tokenizer)
        assert more == render(row, shape, config, tokenizer)
    shape = recognise([{"text": "a"}], DataConfig(text_column="text"))
    assert render({"title": "T", "text": "a"}, shape, DataConfig(), tokenizer) == [("<s>a</s>", True)]


# Control tokens in the data


def test_control_tokens_in_a_value_are_found_however_deep(chat_tokenizer):
    tokens = special_tokens_of(chat_tokenizer)
    assert "<|eot_id|>" in tokens and "<s>" in tokens and "" not in tokens
    deep = {"a": 7, "messages": [{"content": "hi"}, {"content": ["x", "y <|eot_id|> z"]}]}
    found = [special_token_in(value, tokens) for value in ("a<s>b", "<eot_id>", deep, None, ["<|eot_id|>", "<s>"])]
    assert found == ["<s>", "", "<|eot_id|>", "", "<|eot_id|>"]
    assert special_token_in("any words", ()) == ""


# Response starts after


def test_only_what_follows_the_words_is_trained_on(shared_data, chat_tokenizer):
    lines = (shared_data / "messages/price_is_200.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    config = DataConfig(response_starts_after="Price is $")
    shape = recognise(rows, config)
    for row in rows:
        pieces = render(row, shape, config, chat_tokenizer)
        answer = row["messages"][-1]["content"]
        assert [is_trained for _, is_trained in pieces] == [False, True]
        assert pieces[0][0].endswith(ASK + "Price is $")
        assert pieces[1][0] == answer.removeprefix("Price is $") + "<|eot_id|>"
        assert whole(pieces) == whole(render(row, shape, DataConfig(), chat_tokenizer))


def test_the_last_of_the_words_counts_and_answers_without_them_are_only_read(tokenizer):
    settings = {"response_starts_after": "=> ", "prompt_template": "alpaca"}
    row = {"instruction": "q => ", "output": "a => b => c"}
    assert trained(pieces_of(row, tokenizer, **settings)) == ["c</s>"]
    words = 'the answer does not contain the words that the response starts after: "=> "'
    assert reason(pieces_of, {"instruction": "q => ", "output": "a"}, tokenizer, **settings) == words
    turns = [("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "=> b")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    assert [is_trained for _, is_trained in pieces_of(row, tokenizer, **settings)] == [False, True]
    assert trained(pieces_of(row, tokenizer, **settings)) == ["b</s>"]
    pieces = pieces_of({"text": "cost => 3"}, tokenizer, response_starts_after="=> ")
    assert pieces == [("<s>cost => ", False), ("3</s>", True)]


# Conversations


def test_every_answer_with_its_end_mark_is_trained_on_and_nothing_else(chat_tokenizer):
    pieces = chat(("system", "Be kind."), ("user", "One?"), ("assistant", "Yes."), ("user", "Two\n\nlines?"),
                  ("assistant", ""),
                  ("user", "Well?"), ("assistant", "Two!"), ("assistant", "Or three."), ("user", "Never answered"),
                  tokenizer=chat_tokenizer)  # fmt: skip
    user = TURN.format("user")
    assert pieces == [
        (HEAD + "Be kind.<|eot_id|>" + user + "One?<|eot_id|>" + ASK, False),
        ("Yes.<|eot_id|>", True),
        (user + "Two\n\nlines?<|eot_id|>" + ASK + "<|eot_id|>" + user + "Well?<|eot_id|>" + ASK, False),
        ("Two!<|eot_id|>", True),
        (ASK, False),
        ("Or three.<|eot_id|>", True),
    ]


def test_a_greeting_before_any_question_is_only_read(chat_tokenizer):
    turns = [("assistant", "Hello"), ("user", "a"), ("assistant", "b")]
    pieces = chat(*turns, tokenizer=chat_tokenizer)
    assert trained(pieces) == ["b<|eot_id|>"] and "Hello<|eot_id|>" in pieces[0][0]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    assert trained(pieces_of(row, chat_tokenizer, prompt_template="alpaca")) == ["b<|eot_id|>"]
    assert reason(chat, turns[0], tokenizer=chat_tokenizer) == "an answer without a question"
    assert trained(chat(("system", "Greet."), turns[0], tokenizer=chat_tokenizer)) == ["Hello<|eot_id|>"]


def test_answers_of_no_weight_are_only_read(chat_tokenizer):
    turns = [("user", "a"), {"role": "assistant", "content": "b", "weight": 0}, ("user", "c"), ("assistant", "d")]
    assert trained(chat(*turns, tokenizer=chat_tokenizer)) == ["d<|eot_id|>"]
    assert reason(chat, *turns[:2], tokenizer=chat_tokenizer) == "no answer"


def test_a_system_column_comes_before_the_turns(chat_tokenizer):
    turns = [("user", "a"), ("assistant", "b")]
    assert (HEAD + "Be kind.<|eot_id|>") in chat(*turns, tokenizer=chat_tokenizer, system="Be kind.")[0][0]
    both = chat(("system", "Be brief."), *turns, tokenizer=chat_tokenizer, system="Be kind.")
    assert (HEAD + "Be kind.\n\nBe brief.<|eot_id|>") in both[0][0]
    same = chat(("system", "Be kind."), *turns, tokenizer=chat_tokenizer, system="Be kind.")
    assert (HEAD + "Be kind.<|eot_id|>") in same[0][0]


def test_a_prompt_and_an_answer_that_both_are_messages(chat_tokenizer):
    ask, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    expected = chat(("user", "a"), ("assistant", "b"), tokenizer=chat_tokenizer)
    for row in (
        {"prompt": [ask], "completion": [answer]}, {"prompt": "a", "completion": [answer]},
        {"prompt": "a", "chosen": [ask, answer], "rejected": [ask, ask]}, {"prompt": [ask], "chosen": [ask, answer]},
        {"chat": str([ask, answer])}, {"conversations": {"from": ["human", "gpt"], "value": ["a", "b"]}},
    ):  # fmt: skip
        assert pieces_of(row, chat_tokenizer) == expected
    shape, config = recognise([{"prompt": "a", "completion": [answer]}], DataConfig()), DataConfig()
    assert reason(render, {"prompt": "", "completion": [answer]}, shape, config, chat_tokenizer) == "no instruction"
    assert reason(render, {"completion": [answer]}, shape, config, chat_tokenizer) == "a field is missing: prompt"


ASKED, GOOD, BAD = said("user", "a"), said("assistant", "b"), said("assistant", "x")
FROM = {"from": "gpt", "value": "b"}


@pytest.mark.parametrize("chosen", [
    GOOD, [GOOD], [ASKED, GOOD], "b", FROM, [FROM], json.dumps(FROM), str([GOOD]), {"text": "b"},
    {"role": ["assistant"], "content": ["b"]},
])  # fmt: skip
@pytest.mark.parametrize("asked", [
    {"conversations": [{"from": "human", "value": "a"}]}, {"messages": [ASKED]}, {"messages": [ASKED, GOOD]},
    {"messages": [ASKED, BAD]}, {"prompt": [ASKED]}, {"prompt": "a"}, {"question": "a"}, {"chat": str([ASKED])},
])  # fmt: skip
def test_the_chosen_answer_is_the_answer(chat_tokenizer, asked, chosen):
    expected = chat(ASKED, GOOD, tokenizer=chat_tokenizer)
    assert pieces_of({**asked, "chosen": chosen, "rejected": BAD}, chat_tokenizer) == expected


def test_a_chosen_answer_after_several_turns(chat_tokenizer):
    system, again = said("system", "Be kind."), said("user", "c")
    turns = [system, ASKED, GOOD, again]
    expected = chat(*turns, said("assistant", "d"), tokenizer=chat_tokenizer)
    for chosen in (
        "d", said("assistant", "d"), [*turns, said("assistant", "d")], [*turns[1:], said("assistant", "d")],
        [again, said("assistant", "d")],
    ):  # fmt: skip
        assert pieces_of({"messages": turns, "chosen": chosen, "rejected": "e"}, chat_tokenizer) == expected
    whole_talk = [said("user", "A?"), said("assistant", "d")]
    row = {"messages": [system, ASKED], "chosen": whole_talk, "rejected": whole_talk}
    assert pieces_of(row, chat_tokenizer) == chat(system, *whole_talk, tokenizer=chat_tokenizer)
    longer = [said("assistant", "d"), said("user", "e"), said("assistant", "f")]
    row = {"messages": [ASKED], "chosen": longer, "rejected": longer}
    assert pieces_of(row, chat_tokenizer) == chat(ASKED, *longer, tokenizer=chat_tokenizer)
    call = {"from": "function_call", "value": json.dumps(CALL["function"])}
    row = {"conversations": [ASKED], "chosen": call, "rejected": call, "tools": [ADD]}
    assert trained(pieces_of(row, chat_tokenizer)) == ['{"name": "add", "parameters": {"a": 1}}<|eot_id|>']


def test_chosen_answers_in_other_prompts_and_rows_without_one(shared_cases, chat_tokenizer):
    row = {"instruction": "a", "input": "c", "chosen": FROM, "rejected": FROM, "system": "s"}
    assert pieces_of(row, chat_tokenizer, prompt_template="alpaca") == [
        ("<|begin_of_text|>s\n\n### Instruction:\na\n\nc\n\n### Response:\n", False), ("b<|eot_id|>", True),
    ]  # fmt: skip
    shape, config = recognise([{"messages": [ASKED], "chosen": GOOD, "rejected": BAD}], DataConfig()), DataConfig()
    for nothing in (None, "", " ", [], {}):
        row = {"messages": [ASKED], "chosen": nothing, "rejected": BAD}
        assert reason(render, row, shape, config, chat_tokenizer) in ("no answer", "no messages")
    assert reason(render, {"messages": [ASKED]}, shape, config, chat_tokenizer) == "a field is missing: chosen"
    path = shared_cases / "conversations_chosen_rejected.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    shape = recognise(rows, config)
    for number, row in enumerate(rows):
        expected = chat(("user", f"q{number}"), ("assistant", f"good {number}"), tokenizer=chat_tokenizer)
        assert render(row, shape, config, chat_tokenizer) == expected


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "no messages"), (None, "no messages"), ([{"role": "user", "content": "a"}], "no answer"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}], "no answer"),
        ([{"role": None, "content": "a"}], "a message without a known role"),
        ([{"role": "user", "content": [[["a"]]]}], "a message whose content is not text"),
        ([{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "b"}],
         "a message with an image"),
    ],
)  # fmt: skip
def test_conversations_that_are_left_out(chat_tokenizer, messages, words):
    shape = recognise([{"messages": [{"role": "user", "content": "a"}]}], DataConfig())
    assert reason(render, {"messages": messages}, shape, DataConfig(), chat_tokenizer) == words
    assert reason(render, {}, shape, DataConfig(), chat_tokenizer) == "a field is missing: messages"


def test_text_that_looks_like_a_template_or_a_mark_comes_out_as_it_is(any_tokenizer):
    odd = "{{ 7*7 }}{% raw %}{# x #}<|eot_id|> {0} \\n \u2028 \x00 개"
    pieces = chat(("user", odd), ("assistant", odd + "!"), tokenizer=any_tokenizer)
    assert [is_trained for _, is_trained in pieces[:2]] == [False, True]
    assert odd in pieces[0][0] and odd + "!" in pieces[1][0]


# Every template: nothing is lost, and a prompt is the same as in training


def test_each_template_trains_on_all_answers_of_the_real_tool_rows(any_tokenizer, shared_data):
    rows = json.loads((shared_data / "sharegpt/glaive_toolcall_en_demo.json").read_text(encoding="utf-8"))
    shape = recognise(rows, DataConfig())
    for row in rows:
        turns = row["conversations"]
        answers = [turn for turn in turns if turn["from"] in ("gpt", "function_call")]
        pieces = render(row, shape, DataConfig(), any_tokenizer)
        assert len(trained(pieces)) == len(answers)
        for turn, piece in zip(answers, trained(pieces), strict=True):
            said = turn["value"] if turn["from"] == "gpt" else f'"{json.loads(turn["value"])["name"]}"'
            assert said.strip() in piece and piece == piece.rstrip()
        read = "".join(text for text, is_trained in pieces if not is_trained)
        last = max(index for index, turn in enumerate(turns) if turn in answers)
        for turn in turns[:last]:
            if turn["from"] in ("human", "observation"):
                found = turn["value"].strip()
                assert found in read or json.dumps(found, ensure_ascii=False)[1:-1] in read
        assert all(f'"{tool["name"]}' in read for tool in json.loads(row["tools"]))


def test_each_template_prompts_as_in_training(any_tokenizer):
    turns = [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    messages = [{"role": role, "content": content} for role, content in turns]
    pieces = chat(*messages, tokenizer=any_tokenizer)
    assert [is_trained for _, is_trained in pieces[:4]] == [False, True, False, True]
    assert prompt_text(messages[:2], "chat", any_tokenizer) == pieces[0][0]
    assert prompt_text(messages[:4], "chat", any_tokenizer) == whole(pieces[:3])


def test_a_prompt_is_the_same_as_in_training(chat_tokenizer):
    """The prompt on the Compare tab is exactly the text before the answer in training."""
    row = {"instruction": "Say red.", "output": "red", "system": "Be brief."}
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say red."}]
    for prompt in ("chat", "alpaca", "alpaca_korean"):
        pieces = pieces_of(row, chat_tokenizer, prompt_template=prompt)
        assert prompt_text(asked, prompt, chat_tokenizer) == pieces[0][0]
    assert prompt_text(asked, "{title}", chat_tokenizer) == "<|begin_of_text|>Say red."
    chat_tokenizer.chat_template = None
    assert prompt_text(asked, "chat", chat_tokenizer) == "<|begin_of_text|>Say red."
    assert reason(pieces_of, row, chat_tokenizer) == "this model has no chat template; choose one, or the alpaca prompt"


def test_parts_of_text_and_unfilled_names_of_the_real_rows(any_tokenizer, shared_data):
    lines = (shared_data / "sharegpt/v1_sft_demo.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    shape = recognise(rows, DataConfig())
    for row in rows:
        answers = [turn["content"][0]["value"] for turn in row["messages"] if turn["loss_weight"]]
        pieces = trained(render(row, shape, DataConfig(), any_tokenizer))
        for piece, answer in zip(pieces, answers, strict=True):
            assert piece.strip().startswith(answer.strip())


def test_the_strict_template(with_template):
    tokenizer = with_template(STRICT)
    turns = [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert chat(*turns, tokenizer=tokenizer) == [
        ("<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\na [/INST]", False), (" b </s>", True),
        ("<s>[INST] c [/INST]", False), (" d </s>", True),
    ]  # fmt: skip
    says = "the model's chat template says: Turns must alternate"
    assert reason(chat, *turns[1:3], ("assistant", "e"), tokenizer=tokenizer) == says
    assert reason(chat, ("assistant", "z"), *turns[1:3], tokenizer=tokenizer) == says


def test_a_line_end_after_the_end_mark_is_not_trained_on(with_template):
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d\n")]
    pieces = chat(*turns, tokenizer=with_template(NAMED))
    assert pieces == [
        ("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n", False), ("b<|im_end|>", True),
        ("\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n", False), ("d\n<|im_end|>", True), ("\n", False),
    ]  # fmt: skip
    bare = with_template("{% for turn in messages %}{{ turn.content ~ '\n' }}{% endfor %}")  # the line end is the mark
    assert chat(("user", "a"), ("assistant", "b"), tokenizer=bare) == [("a\n", False), ("b\n", True)]


def test_if_a_template_rewrites_earlier_turns_only_the_last_answer_is_trained_on(with_template):
    turns = [("user", "a"), ("assistant", "<think>x</think>b"), ("user", "c"), ("assistant", "<think>y</think>d")]
    tokenizer = with_template(THINKING)
    assert chat(*turns, tokenizer=tokenizer) == [
        ("<user>a<end><assistant>b<end><user>c<end><assistant>", False), ("<think>y</think>d<end>", True),
    ]  # fmt: skip
    unlearned = [*turns[:3], {"role": "assistant", "content": "d", "weight": 0}]
    assert reason(chat, *unlearned, tokenizer=tokenizer) == "the model's chat template rewrites earlier turns"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", "rewrites earlier turns"),
        ("{{ raise_exception('Only users may speak') }}", "says: Only users may speak"),
        ("{% for m in messages if m.role != 'user' %}{{ m.content }}{% endfor %}", "leaves out a question"),
        ("{% for m in messages %}{{ m.content[:4] }}{% endfor %}", "leaves out a part of an answer"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}{{ '<think>' if add_generation_prompt }}",
         "rewrites earlier turns"),
        ("{{ messages[0].content.nothing.at.all }}", "says: 'str object' has no attribute 'nothing'"),
        ("{% if %}", "says: Expected an expression, got 'end of statement block'"),
    ],
)  # fmt: skip
def test_a_template_that_would_teach_something_else_is_refused(with_template, template, words):
    row = [("system", "Sys"), ("user", "Ask"), ("assistant", "Answer")]
    assert reason(chat, *row, tokenizer=with_template(template)) == f"the model's chat template {words}"


def test_two_thousand_turns(any_tokenizer):
    turns = [(("user", "assistant")[n % 2], f"turn {n}") for n in range(2_000)]
    pieces = chat(*turns, tokenizer=any_tokenizer)
    answers = [text for text, is_trained in pieces if is_trained]
    assert len(answers) == 1_000 and all(f"turn {2 * n + 1}" in text for n, text in enumerate(answers))
    messages = [{"role": role, "content": content} for role, content in turns]
    last = max(index for index, (_, is_trained) in enumerate(pieces) if is_trained)
    assert whole(pieces[:last]) == prompt_text(messages[:-1], "chat", any_tokenizer)


def test_windows_give_what_single_turns_give(any_tokenizer, monkeypatch):
    turns = [("system", "Be kind."), *((("user", "assistant")[n % 2], f"turn {n}") for n in range(48))]
    few = chat(*turns, tokenizer=any_tokenizer)
    monkeypatch.setattr("core.data.prompts.chat_template.MANY_MESSAGES", 10_000)
    assert few == chat(*turns, tokenizer=any_tokenizer)
    assert Counter(is_trained for _, is_trained in few)[True] == 24


# Tools


CALLED = [
    {"role": "user", "content": "Add."}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": {"sum": 2}}, {"role": "assistant", "content": "2"},
]  # fmt: skip


def test_tools_in_a_template_that_supports_them(chat_tokenizer):
    pieces = chat(*CALLED, tokenizer=chat_tokenizer, tools=[ADD])
    assert '"name": "add",\n        "description": "Adds.",' in pieces[0][0]
    assert pieces[1:] == [
        ('{"name": "add", "parameters": {"a": 1}}<|eot_id|>', True),
        (TURN.format("ipython") + '"{\\"sum\\": 2}"<|eot_id|>' + ASK, False),
        ("2<|eot_id|>", True),
    ]


def test_tools_in_templates_without_support(with_template, tokenizer):
    offer = "You can call these functions. To call one, answer with its name and arguments as JSON.\n\n"
    offer += json.dumps(ADD)
    call = '{"name": "add", "arguments": {"a": 1}}'
    assert chat(*CALLED, tokenizer=with_template(NAMED), tools=[ADD]) == [
        (f"<|im_start|>system\n{offer}<|im_end|>\n<|im_start|>user\nAdd.<|im_end|>\n<|im_start|>assistant\n", False),
        (call + "<|im_end|>", True),
        ('\n<|im_start|>tool\n{"sum": 2}<|im_end|>\n<|im_start|>assistant\n', False),
        ("2<|im_end|>", True),
        ("\n", False),
    ]
    twice = [*CALLED[:3], {"role": "function", "content": "3"}, CALLED[3]]
    assert chat(("system", "Hi."), *twice, tokenizer=with_template(STRICT), tools=json.dumps([ADD])) == [
        (f"<s>[INST] <<SYS>>\nHi.\n\n{offer}\n<</SYS>>\n\nAdd. [/INST]", False), (f" {call} </s>", True),
        ('<s>[INST] {"sum": 2}\n\n3 [/INST]', False), (" 2 </s>", True),
    ]  # fmt: skip
    assert pieces_of({"messages": CALLED, "tools": [ADD]}, tokenizer, prompt_template="alpaca") == [
        (f"<s>{offer}\n\n### Instruction:\nAdd.\n\n### Response:\n", False), (call + "</s>", True),
        ('\n\n### Instruction:\n{"sum": 2}\n\n### Response:\n', False), ("2</s>", True),
    ]  # fmt: skip


def test_if_a_template_has_no_tool_role_the_user_gives_the_results(with_template):
    known = "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}<{{ m.role }}>{{ m.content }}</s>"
    tokenizer = with_template(known + "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}")
    assert chat(*CALLED, tokenizer=tokenizer)[2:] == [('<user>{"sum": 2}</s><assistant>', False), ("2</s>", True)]


def test_words_next_to_a_call_are_kept_or_the_row_is_left_out(chat_tokenizer, with_template):
    call = [CALLED[0], {"role": "assistant", "content": "Let me add.", "tool_calls": [CALL]}]
    words = "the model's chat template leaves out a part of an answer"
    assert reason(chat, *call, tokenizer=chat_tokenizer) == words  # published Llama templates drop such words
    both = [CALLED[0], {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}]
    words = "the model's chat template says: This model only supports single tool-calls at once!"
    assert reason(chat, *both, tokenizer=chat_tokenizer) == words
    written = 'Let me add.\n{"name": "add", "arguments": {"a": 1}}<|im_end|>'
    assert trained(chat(*call, tokenizer=with_template(NAMED))) == [written]


def test_calls_and_tools_that_a_template_would_lose(with_template, chat_tokenizer):
    greeting = [("assistant", "Hello"), *CALLED]
    words = "tools in a conversation that does not begin with a question"
    assert reason(chat, *greeting, tokenizer=chat_tokenizer, tools=[ADD]) == words
    lossy = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{# tool_calls #}"
    lossy += "{% if add_generation_prompt %}<assistant>{% endif %}"
    words = "the model's chat template leaves out a tool call"
    assert reason(chat, *CALLED, tokenizer=with_template(lossy)) == words
    words = "the model's chat template leaves out the tools"
    turns = [("user", "a"), ("assistant", "b")]
    assert reason(chat, *turns, tokenizer=with_template(lossy), tools=[ADD]) == words
    assert trained(chat(*turns, tokenizer=with_template(lossy), tools="[]")) == ["b</s>"]
    shape = recognise([{"messages": CALLED, "tools": [ADD]}], DataConfig())
    row = {"messages": CALLED, "tools": "search"}
    assert reason(render, row, shape, DataConfig(), chat_tokenizer) == "tools that are not a list of functions"
