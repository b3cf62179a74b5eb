"""Where one answer differs from another: exact pieces, scripts without spaces, and a bound on the time."""

import time

import pytest

from core.comparing.word_differences import Piece, differences


def same(text):
    return Piece("same", text)


def new(text):
    return Piece("new", text)


def gone(text):
    return Piece("gone", text)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("one two three", "one two three", [same("one two three")]),
        ("one two three", "one 2 three", [same("one "), gone("two"), new("2"), same(" three")]),
        ("one two three", "one three", [same("one "), gone("two"), same("three")]),
        ("one three", "one two three", [same("one "), new("two"), same(" three")]),
        ("one two", "one", [same("one"), gone("two")]),
        (
            "The old man.",
            "An old woman.",
            [gone("The"), new("An"), same(" old "), gone("man"), new("woman"), same(".")],
        ),
        (
            "It costs 1,000.50 now",
            "It costs 1,000.60 now",
            [same("It costs "), gone("1,000.50"), new("1,000.60"), same(" now")],
        ),
        ("don't stop", "do stop", [gone("don't"), new("do"), same(" stop")]),
        ("a  red\n\tcat", "a blue cat", [same("a "), gone("red"), new("blue"), same(" cat")]),
        ("it is so", "it  was\nnot so", [same("it  "), gone("is"), new("was\nnot"), same(" so")]),
        ("one two", "three", [gone("one two"), new("three")]),
        ("good 😀 day", "good 👩‍👩‍👧 day", [same("good "), gone("😀"), new("👩‍👩‍👧"), same(" day")]),
        ("a\nb", "a   b", [same("a   b")]),  # spaces are kept as they are, and not compared
        ("", "x y", [new("x y")]),
        ("x y", "", [gone("x y")]),
        ("", "", []),
        ("老人读一本书。", "老人在读书。", [same("老人"), new("在"), same("读"), gone("一本"), same("书。")]),
        ("ネコが好き", "イヌが好き", [gone("ネコ"), new("イヌ"), same("が好き")]),
        (  # whole words
            "노인이 책을 읽는다",
            "노인이 글을 읽는다",
            [same("노인이 "), gone("책을"), new("글을"), same(" 읽는다")],
        ),
        ("กินข้าว", "กินน้ำ", [same("กิน"), gone("ข้าว"), new("น้ำ")]),
    ],
)
def test_exact_pieces(first, second, wanted):
    assert differences(first, second) == tuple(wanted)


@pytest.mark.parametrize("first", ["", "a b", "  lead and trail \n", "Jack & <b>Jill</b>, 3.5!", "老人 reads 书"])
@pytest.mark.parametrize("second", ["", "b a", "\n\n  lead or trail\t", "Jack and <i>Jill</i>; 3.6?", "书 by 老人"])
def test_what_is_not_gone_is_the_second_text(first, second):
    pieces = differences(first, second)
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == second
    kept = "".join(piece.text for piece in pieces if piece.kind != "new")
    assert sorted("".join(kept.split())) == sorted("".join(first.split())), "and nothing of the first one vanishes"


def test_what_would_take_too_long_is_not_compared():
    alike = (
        " ".join(f"the w{number}" for number in range(10_000)),
        " ".join(f"the v{number}" for number in range(10_000)),
    )
    began = time.process_time()
    assert differences(*alike) is None
    # Begun at once, and given up midway: both within the bound.
    assert differences(" ".join(f"a x{n}" for n in range(500)), " ".join(f"a y{n}" for n in range(500))) is None
    assert time.process_time() - began < 5


def test_long_answers_that_hardly_differ_are_compared():
    words = [f"word{number}" for number in range(20_000)]
    changed = [*words[:9_000], "other", *words[9_001:]]
    pieces = differences(" ".join(words), " ".join(changed))
    assert [piece.kind for piece in pieces] == ["same", "gone", "new", "same"]
    assert [piece.text for piece in pieces[1:3]] == ["word9000", "other"]
