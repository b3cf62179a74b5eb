"""Rows as HTML: nothing in them is taken for markup, and every token is marked for what it is."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from core.data.columns.shape import Shape
from core.data.prepared.left_out import LeftOut, LeftOutRow
from core.data.prepared.row_view import RowView, Token
from core.data.prepared.survey import Survey
from core.workbench.rows_of_the_form import Look, Preparing
from ui.data.figures_view import left_out_text, preparing_text, survey_text
from ui.data.length_chart import length_chart
from ui.data.rows_view import blanks_text, look_text, row_text, table_text

EVIL = '<script>alert("1")</script><img src=x onerror=alert(2)>'
FOUND = Survey(
    rows=12, train_rows=8, validation_rows=2, tokens=900, trained_tokens=90, cut_rows=1, lost_tokens=1, longest=129,
    longest_row=7, longest_is_validation=False, pieces=False, edges=(0, 50, 100, 150), counts=(6, 3, 1),
    without_end=0, unfilled=0, repeated=0, shared=0, languages=(),
    epoch_steps=1, step_rows=8, warnings=(EVIL,),
)  # fmt: skip
TOKENS = (
    Token(1, "<s>", False, True, False), Token(2, EVIL, False, False, False), Token(3, "", True, False, False),
    Token(4, "가\n", True, False, False), Token(5, "</s>", True, True, False), Token(6, "gone", False, False, True),
)  # fmt: skip
ROW = RowView(7, TOKENS, length=6, kept=5, trained=3, end_name="</s>", end_is_trained=True, is_validation=False)


def test_each_token_is_marked_for_what_it_is():
    text = row_text(ROW, 5)
    marked = re.findall(r'<i class="([^"]*)" title="(\d)">(.*?)</i>', text, re.DOTALL)
    assert [(kinds, int(number)) for kinds, number, _ in marked] == [
        ("s", 1),
        ("", 2),
        ("t p", 3),
        ("t", 4),
        ("t s", 5),
        ("x", 6),
    ]
    assert marked[3][2] == "가⏎\n" and marked[4][2] == "&lt;/s&gt;"
    assert '<i class="t s" title="5">&lt;/s&gt;</i><b class="cut">' in text and '</b><i class="x" title="6">' in text
    assert re.findall(r"\d+", re.search(r'<b class="cut">(.*?)</b>', text)[1]) == ["5", "1"], "the length, and lost"
    caption = re.search(r"<figcaption>(.*?)</figcaption>", text)[1]
    assert [int(figure) for figure in re.findall(r"\d+", caption)] == [7, 6, 3] and "training row" in caption
    assert '<p class="notice good" role="status">' in text
    assert "validation row" in row_text(replace(ROW, is_validation=True), 5)


def test_a_missing_end_mark_says_why():
    missing = replace(ROW, end_is_trained=False)
    cut, whole = row_text(missing, 5), row_text(replace(missing, length=5, tokens=TOKENS[:5]), 5)
    for text in (cut, whole):
        assert re.search('<p class="notice warning" role="status">[^<]*&lt;/s&gt;', text)
    assert "beyond the cut" in cut and "beyond the cut" not in whole


def test_a_very_long_row_says_how_much_is_not_shown():
    last = re.findall(r'<b class="cut">(.*?)</b>', row_text(replace(ROW, length=4000), 5))[-1]
    assert "3,994" in last


def test_nothing_in_rows_is_taken_for_markup():
    left = LeftOut(Counter({EVIL: 1}), {}, (LeftOutRow(1, EVIL, EVIL, EVIL),), None, 1.0)
    texts = [
        row_text(ROW, 5), table_text((EVIL, "b"), ({EVIL: EVIL, "b": None},)), survey_text(FOUND, 128, "off"),
        left_out_text(Preparing(left_out=left)), preparing_text(Preparing(path=EVIL, survey=FOUND, left_out=left)),
        preparing_text(Preparing(error=EVIL)), blanks_text({EVIL: EVIL}),
        table_text(("a",), ({"a": [{"role": EVIL, "content": EVIL}]},)),
        preparing_text(Preparing(survey=replace(FOUND, warnings=()), notes=(EVIL,))),
    ]  # fmt: skip
    for text in texts:
        assert "<script" not in text and "<img" not in text
    assert all("&lt;script&gt;" in text for text in texts)


def test_a_long_cell_is_shortened_and_an_empty_one_says_so():
    text = table_text(("a", "b"), ({"a": "x" * 500},))
    assert "x" * 160 + "…</td>" in text and "x" * 161 not in text and '<span class="empty">empty</span>' in text


def test_rows_left_out_beyond_those_listed_are_counted():
    rows = tuple(LeftOutRow(n, f"line {n}", "no answer", "{}") for n in range(1, 201))
    text = left_out_text(Preparing(left_out=LeftOut(Counter({"no answer": 450}), {}, rows, Path("x.csv"), 0.5)))
    assert re.search('<p class="notice warning" role="status">450 [^<]*no answer', text) and text.count("<tr>") == 21
    assert re.search('<p class="figures">[^<]*430[^<]*download', text)


def test_the_lengths_are_drawn_with_the_cut():
    text = length_chart(FOUND, 128)
    bars = [(float(height), title) for height, title in re.findall(r'height="([\d.]+)"><title>(.*?)</title>', text)]
    assert [title for _, title in bars] == [
        "0 to 49 tokens: 6 rows",
        "50 to 99 tokens: 3 rows",
        "100 to 149 tokens: 1 row",
    ]
    assert bars[0][0] == 2 * bars[1][0] and abs(bars[0][0] - 6 * bars[2][0]) < 0.3
    (cut,) = re.findall(r'class="limit" x1="([\d.]+)"', text)
    left, right = 46, 332
    assert abs(float(cut) - (left + (right - left) * 128 / 150)) < 0.06 and "cut at 128" in text
    long = length_chart(FOUND, 2048)
    assert '<line class="limit"' not in long and re.search('<span class="key limit">[^<]*2,048</span>', long)


def test_a_chat_is_shown_turn_by_turn():
    turns = [
        {"from": "human", "value": "Hi"}, {"from": "gpt", "value": None, "tool_calls": [{"name": "look"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        *({"role": "user", "content": "x" * 200} for _ in range(5)),
    ]  # fmt: skip
    text = table_text(("chat", "other"), ({"chat": turns, "other": {"a": [True, None]}},))
    found = re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    assert found[:3] == [("human", "Hi"), ("gpt", "[{&#34;name&#34;: &#34;look&#34;}]"), ("user", "ab")]
    assert len(found) == 4 and found[3] == ("user", "x" * 160 + "…") and "and 4 more turns" in text
    assert "{&#34;a&#34;: [true, null]}" in text and "&#39;" not in text
    packed = '[{"role": "user", "content": "in JSON"}]'
    assert "<dt>user</dt><dd>in JSON</dd>" in table_text(("a",), ({"a": packed},))


def test_the_column_that_is_trained_on_is_marked():
    row = {"question": "a", "reply": {"text": "b"}}
    shape = Shape("question", "x", columns={"instruction": "question", "answer": "reply.text"})
    text = look_text(Look((), ("question", "reply"), (row,), shape))
    assert re.findall(r'<th class="trained">(\w+)', text) == ["reply"] and text.count('class="trained"') == 2
    own = look_text(Look((), ("question", "reply"), (row,), Shape("columns", "x")))
    assert "trained" not in own


def test_a_field_for_each_placeholder():
    text = blanks_text({"name": "Ember", "by": ""})
    assert re.findall('<span>(.*?)</span><input type="text" name="(.*?)" value="(.*?)">', text) == [
        ("{{name}}", "name", "Ember"), ("{{by}}", "by", ""),
    ]  # fmt: skip
    assert blanks_text({}) == ""
