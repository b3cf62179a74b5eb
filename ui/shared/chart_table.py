"""The values of a chart as a small table, for those who have the page read to them.

It has some points of each line, not all that are drawn: a table of a thousand rows is of no use to a listener, and the
charts of a run in progress are sent anew with each step.
"""

from collections.abc import Callable, Sequence

MOST_ROWS_PER_LINE = 6

Point = tuple[float, float]


def table_of(
    lines: Sequence[tuple[str, Sequence[Point]]], x_figure: Callable[[float], str], y_figure: Callable[[float], str]
) -> dict[str, list]:
    """The table's `columns`, one for each of these (name, points), and its `rows` as (x, values) in words.

    Each line's points are in the order of x. A row has a value of every line that has a point at its x; the others'
    are empty. There are rows for the first and the last point of each line, and for some evenly chosen between them.
    """
    values = [dict(points) for _, points in lines]
    chosen = sorted({x for found in values for x in _some(list(found))})
    return {
        "columns": [name for name, _ in lines],
        "rows": [
            (x_figure(x), [y_figure(found[x]) if x in found else "" for found in values]) for x in chosen
        ],
    }  # fmt: skip


def _some(numbers: list[float]) -> list[float]:
    """At most `MOST_ROWS_PER_LINE` of them, equally far apart, with the first and the last."""
    last, most = len(numbers) - 1, MOST_ROWS_PER_LINE
    if last < most:
        return numbers
    return [numbers[place * last // (most - 1)] for place in range(most)]
