"""Errors in dollars, against figures worked out by hand."""

import math

import pytest

from core.evaluation.price_errors import price_errors
from core.evaluation.record import ReadRow


def row(reference: str | None, base: str, tuned: str) -> ReadRow:
    return ReadRow(question="?", reference=reference, base=base, tuned=tuned, base_loss=None, tuned_loss=None)


def test_the_errors_of_both_models_each_where_it_gave_a_number():
    found = price_errors(
        [
            row("100.00", "$139", "101"),  # within $40, though 39% off
            row("1000.00", "1,300", "1,200.00"),  # the second within 20%, though $200 off
            row("10.00", "no idea", "60"),
            row("20.00", "99", "-5"),
        ]
    )
    assert (found.base.rows, found.base.mean, found.base.median) == (3, pytest.approx(418 / 3), 79)
    assert found.base.close == pytest.approx(1 / 3)
    assert (found.tuned.rows, found.tuned.mean, found.tuned.median) == (4, 69, 37.5)
    assert found.tuned.close == 0.75
    logs = [math.log(102 / 101), math.log(1201 / 1001), math.log(61 / 11), math.log(1 / 21)]
    assert found.tuned.rmsle == pytest.approx(math.sqrt(sum(value**2 for value in logs) / 4))
    assert [guess.tuned for guess in found.worst(2)] == [1200, 60]
    assert [guess.base for guess in found.guesses] == [139, 1300, None, 99]


def test_a_model_that_gives_no_number_has_no_errors():
    found = price_errors([row("5", "five", "6"), row("7", "seven", "8")])
    assert found.base is None and (found.tuned.mean, found.tuned.rows) == (1, 2)


@pytest.mark.parametrize("rows", [[], [row("a sentence", "1", "2")], [row(None, "1", "2")], [
    row("3", "1", "2"), row("red", "1", "2"), row("blue", "1", "2")]])  # fmt: skip
def test_answers_that_are_no_prices_have_none(rows):
    assert price_errors(rows) is None
