from core.data.prepared.survey import Survey
from ui.shared.formatting import count
from ui.shared.line_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


def length_chart(found: Survey, max_seq_length: int) -> str:
    """How many rows have how many tokens, with the length at which they are cut."""
    right = max(found.edges[-1], 1)
    most = max(found.counts)
    bottom, across = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT

    def x(tokens: float) -> float:
        return LEFT + tokens / right * across

    bars = "".join(
        f'<rect class="bars" x="{x(low) + 0.5:.1f}" width="{max(x(high) - x(low) - 1, 0.6):.1f}" '
        f'y="{bottom - number / most * (bottom - TOP):.1f}" height="{number / most * (bottom - TOP):.1f}">'
        f"<title>{low:,} to {high - 1:,} tokens: {count(number, 'row')}</title></rect>"
        for low, high, number in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True)
        if number
    )
    is_inside = max_seq_length <= right
    mark = f'<line class="limit" x1="{x(max_seq_length):.1f}" x2="{x(max_seq_length):.1f}" y1="{TOP}" y2="{bottom}"/>'
    where = f"cut at {max_seq_length:,}" if is_inside else f"none reaches the length of {max_seq_length:,}"
    axis = (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        f'<text x="{LEFT - 5}" y="{TOP + 6}" text-anchor="end">{most:,}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 5}">0</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{right:,} tokens</text>'
    )
    return (
        f'<figure class="chart"><figcaption>Rows by length <span class="key limit">{where}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Rows by length, {where}">'
        f"{axis}{bars}{mark if is_inside else ''}</svg></figure>"
    )
