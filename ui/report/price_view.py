"""Errors in dollars as HTML: a table, a scatter of true price against guess, and the worst guesses to read."""

from collections.abc import Iterable

from markupsafe import Markup

from core.evaluation.price_errors import CLOSE_DOLLARS, CLOSE_SHARE, Guess, PriceErrors, price_errors
from core.evaluation.record import Evaluation
from core.problems import tr, trn
from ui.report.report_parts import cut
from ui.shared.formatting import percent
from ui.shared.html import render_part

TEMPLATE = "report/recipe.html"
SIZE, LEFT, BOTTOM, EDGE = 260, 40, 232, 8  # of the drawing, in its own units
ROOM = 1.1  # the axes end this much above the highest true price: a base may guess millions
MOST_POINTS, MOST_WORST, QUESTION_CHARACTERS = 400, 5, 400
TICKS = 4


def prices_text(found: Evaluation) -> Markup:
    """Empty where the answers are no prices."""
    errors = price_errors(found.answers)
    if errors is None:
        return Markup()
    both = (errors.base, errors.tuned)
    close = tr("Within ${dollars:.0f} or {share:.0%}", dollars=CLOSE_DOLLARS, share=CLOSE_SHARE)
    figures = (
        (tr("Guesses"), lambda of: f"{of.rows:,}"),
        (tr("Mean error"), lambda of: dollars(of.mean)),
        (tr("Median error"), lambda of: dollars(of.median)),
        (close, lambda of: percent(of.close)),
        ("RMSLE", lambda of: f"{of.rmsle:.3f}"),
    )
    rows = [(title, *("–" if of is None else show(of) for of in both)) for title, show in figures]
    return render_part(
        TEMPLATE,
        "prices",
        title=tr("Errors in dollars"),
        rows=rows,
        small_print=_small_print(errors),
        scatter=scatter(errors.guesses[:MOST_POINTS]),
        worst=[_worst(guess) for guess in errors.worst(MOST_WORST)],
    )


def dollars(value: float | None) -> str:
    """An amount; a dash for an answer without a number."""
    if value is None:
        return "–"
    return f"${value:,.2f}" if abs(value) < 1e6 else f"${value:.2e}"


def _small_print(errors: PriceErrors) -> str:
    return trn(
        "{count:,} row with a price. An answer without a number is not a guess and is left out of the errors. RMSLE "
        "compares ratios: 0.69 is twice or half the price.",
        "{count:,} rows with a price. An answer without a number is not a guess and is left out of the errors. RMSLE "
        "compares ratios: 0.69 is twice or half the price.",
        len(errors.guesses),
    )


def _worst(guess: Guess) -> dict:
    return {
        "question": cut(guess.row.question, QUESTION_CHARACTERS),
        "price": dollars(guess.price),
        "base": dollars(guess.base),
        "tuned": dollars(guess.tuned),
    }


def scatter(guesses: Iterable[Guess]) -> Markup:
    """Squares for the base's guesses, circles for the tuned model's, and the line on which both prices are equal."""
    guesses = tuple(guesses)
    top = max(max(guess.price for guess in guesses) * ROOM, 1.0)

    def place(price: float, guess: float) -> tuple[str, str]:
        across, up = (min(max(value / top, 0.0), 1.0) for value in (price, guess))
        return f"{LEFT + across * (SIZE - EDGE - LEFT):.1f}", f"{BOTTOM - up * (BOTTOM - EDGE):.1f}"

    def points(side: str) -> list[tuple[str, str, str]]:
        pairs = [(one.price, getattr(one, side)) for one in guesses]
        return [(*place(*pair), " → ".join(map(dollars, pair))) for pair in pairs if pair[1] is not None]

    ticks = []
    for number in range(TICKS + 1):
        x, y = place(top * number / TICKS, top * number / TICKS)
        ticks.append({"x": x, "y": y, "figure": f"{top * number / TICKS:,.0f}"})
    beyond = sum(max(one.base or 0, one.tuned or 0) > top for one in guesses)
    words = trn("{count:,} row has a guess above the chart.", "{count:,} rows have a guess above the chart.", beyond)
    return render_part(
        TEMPLATE, "scatter", size=SIZE, left=LEFT, bottom=BOTTOM, ticks=ticks, base=points("base"),
        tuned=points("tuned"), beyond=words if beyond else "",
    )  # fmt: skip
