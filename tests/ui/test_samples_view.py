"""A run's own prompts as timelines: each answer once, the newest first, and nothing of it as markup."""

import re
from html import unescape

from core.runs.events import Sampled
from core.runs.snapshot import Snapshot
from ui.train.samples_view import MOST_CHARACTERS, MOST_ENTRIES, samples_text


def sampled(step: int, *answers: str, by: str = "tuned", prompts: tuple[str, ...] = ("Hello", "Bye")) -> Sampled:
    return Sampled(step=step, by=by, prompts=prompts[: len(answers)], answers=answers)


def entries(text: str) -> list[list[tuple[str, str, str]]]:
    """For each prompt (whose, when, answer)."""
    parts = text.split('<ul class="timeline">')[1:]
    found = [re.findall(r'<li class="(\w+)"><b>(.*?)</b><span>(.*?)</span></li>', part, re.DOTALL) for part in parts]
    return [[tuple(map(unescape, entry)) for entry in part] for part in found]


def test_no_prompts_show_nothing():
    assert samples_text(Snapshot()) == ""


def test_base_first_then_the_newest():
    text = samples_text(
        Snapshot(samples=(sampled(0, "a", "x", by="base"), sampled(40, "b", "y"), sampled(80, "c", "y")))
    )
    assert entries(text) == [
        [("base", "base", "a"), ("tuned", "step 80", "c"), ("tuned", "step 40", "b")],
        [("base", "base", "x"), ("tuned", "step 80, the same since step 40", "y")],
    ]
    assert re.findall(r'class="asked">(.*?)</p>', text) == ["Hello", "Bye"]


def test_what_comes_back_is_an_entry_of_its_own():
    text = samples_text(Snapshot(samples=tuple(sampled(step, answer) for step, answer in enumerate("abba", 1))))
    assert [when for _, when, _ in entries(text)[0]] == ["step 4", "step 3, the same since step 2", "step 1"]


def test_only_so_many_entries_and_how_many_more_there_were():
    samples = (sampled(0, "base", by="base"), *(sampled(step, f"answer {step}") for step in range(1, 31)))
    text = samples_text(Snapshot(samples=samples))
    (timeline,) = entries(text)
    assert len(timeline) == MOST_ENTRIES == 12
    assert timeline[1] == ("tuned", "step 30", "answer 30") and timeline[-1] == ("tuned", "step 20", "answer 20")
    assert re.search(r'<li class="gap">19 [^<]*</li></ul>', text)


def test_twenty_prompts_of_long_answers_stay_small():
    prompts = tuple(f"prompt {number}" for number in range(20))
    samples = tuple(sampled(step, *[f"{step}" + "가" * 2000] * 20, prompts=prompts) for step in range(1, 41))
    text = samples_text(Snapshot(samples=samples))
    assert len(text.encode()) < 90_000
    assert all(timeline[0][1] == "step 40" for timeline in entries(text)) and len(entries(text)) == 20


def test_a_long_answer_is_cut_and_says_so():
    text = samples_text(Snapshot(samples=(sampled(1, "x" * 1234),)))
    assert text.count("x" * MOST_CHARACTERS) == 1 and "x" * (MOST_CHARACTERS + 1) not in text
    assert "1,234" in re.search(r'<span class="gap">(.*?)</span>', text)[1]


def test_markup_of_prompts_and_answers_is_text():
    evil = '<img src=x onerror="alert(1)">'
    text = samples_text(Snapshot(samples=(sampled(1, evil, prompts=(evil,)),)))
    assert "<img" not in text and text.count("&lt;img src=x onerror=&#34;alert(1)&#34;&gt;") == 2


def test_an_empty_answer_is_marked():
    text = samples_text(Snapshot(samples=(sampled(1, " \n"),)))
    assert re.search(r'<li class="tuned"><b>step 1</b><span><span class="nothing">[^<]+</span></span></li>', text)
