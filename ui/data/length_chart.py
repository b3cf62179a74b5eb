"""How many rows have how many tokens, as an SVG histogram with the length at which they are cut."""

from markupsafe import Markup

from core.data.prepared.survey import Survey
from core.problems import mark, tr, trn
from core.workbench.recipe_record import DataFacts
from ui.shared.html import render_part
from ui.shared.line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

LEAST_BAR_WIDTH = 0.6  # so that the narrowest bar can be seen


def length_chart(found: Survey | DataFacts, max_seq_length: int) -> Markup:
    """The histogram of `found`; `max_seq_length` is in tokens, like the edges of the bars."""
    last = max(found.edges[-1], 1)
    most = max(found.counts)
    bottom, across = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT

    def x(tokens: float) -> float:
        return LEFT + tokens / last * across

    bars, rows = [], []
    for low, high, number in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True):
        if number:
            height = number / most * (bottom - TOP)
            bars.append(
                {
                    "x": f"{x(low) + 0.5:.1f}",
                    "width": f"{max(x(high) - x(low) - 1, LEAST_BAR_WIDTH):.1f}",
                    "y": f"{bottom - height:.1f}",
                    "height": f"{height:.1f}",
                    "words": trn(
                        "{low:,} to {high:,} tokens: {count:,} row",
                        "{low:,} to {high:,} tokens: {count:,} rows",
                        number,
                        low=low,
                        high=high - 1,
                    ),
                }
            )
            rows.append((tr("{low:,} to {high:,}", low=low, high=high - 1), [f"{number:,}"]))
    is_inside = max_seq_length <= last
    where = mark("cut at {limit:,}") if is_inside else mark("none reaches the limit of {limit:,}")
    return render_part(
        "data/lengths.html",
        "lengths",
        where=tr(where, limit=max_seq_length),
        width=WIDTH,
        height=HEIGHT,
        bottom=bottom,
        left=LEFT,
        top=TOP,
        right_edge=WIDTH - RIGHT,
        most=f"{most:,}",
        last=trn("{count:,} token", "{count:,} tokens", last),
        bars=bars,
        table={"columns": [tr("rows")], "rows": rows},
        limit=f"{x(max_seq_length):.1f}" if is_inside else "",
    )
