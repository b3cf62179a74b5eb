"""Which answers are called blank, and which are said to repeat themselves."""

import time

import pytest

from core.comparing.answer_faults import fault_of

BLANK, LOOP = "This answer is blank.", "This answer repeats itself."


@pytest.mark.parametrize("text", ["", " ", "\n\t  \n", "\u200b\u200d", "\u00a0\u3000", "\x00"])
def test_blank(text):
    assert fault_of(text) == BLANK


@pytest.mark.parametrize(
    "text",
    [
        "the cat sat and " * 3,
        "the cat sat and the cat sat and the cat sat and",
        "Once upon a time. " + "And so it was. " * 5,
        "Once upon a time. " + "And so it was. " * 5 + "And so",  # cut off at the limit
        "no " * 12,
        "!" * 30,
        "a\nb c\n" * 8,
        "one line of it\n\none  line of it\none line of it\n",
        "老人读一本书。" * 5,
        "답은 ".strip() * 15,
        "1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3,",
    ],
)
def test_a_loop_to_the_end(text):
    assert fault_of(text) == LOOP


@pytest.mark.parametrize(
    "text",
    [
        "A book, the old man reads. Hmm.",
        "very, very, very long",
        "no " * 9,  # too short to be sure
        "!" * 28,
        "the cat sat and the cat sat and",  # twice
        "And so it was. " * 5 + "Then it ended.",  # it found out of it
        "1. one\n2. two\n3. three\n4. four\n5. five\n6. six",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |",
        "0123456789" * 2 + "x",
    ],
)
def test_no_fault(text):
    assert fault_of(text) == ""


def test_the_time_grows_with_the_length_only():
    began = time.process_time()
    assert fault_of("a" * 100_000 + "b") == "" and fault_of("ab" * 50_000) == LOOP
    assert fault_of("".join(f"{n} and {n % 7} " for n in range(10_000))) == ""
    assert time.process_time() - began < 5
