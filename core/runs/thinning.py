"""Makes long series short enough for a screen while keeping their extremes."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TypeVar

T = TypeVar("T")
Value = Callable[[T], float | None]


def thin(points: Sequence[T], most: int, x: Value, *ys: Value) -> list[T]:
    """At most `most` of the points, including the first and the last; all of them if there are no more than that.

    The range of `x` is cut into equal stretches. In each, the points with the lowest and the highest value of each of
    `ys` are kept, in order. Thinning again keeps these extremes. Values that are None or not finite are no extremes.
    `most` must be at least 2, plus 2 for each of `ys`.
    """
    if len(points) <= most:
        return list(points)
    stretches = (most - 2) // (2 * len(ys))
    first, last = x(points[0]), x(points[-1])
    width = (last - first) / stretches or 1.0
    extremes: list[dict[tuple[int, bool], tuple[float, int]]] = [{} for _ in range(stretches)]
    for place, point in enumerate(points):
        stretch = extremes[min(max(int((x(point) - first) / width), 0), stretches - 1)]
        for number, y in enumerate(ys):
            value = y(point)
            if value is None or not isfinite(value):
                continue
            if (number, False) not in stretch or value < stretch[number, False][0]:
                stretch[number, False] = (value, place)
            if (number, True) not in stretch or value > stretch[number, True][0]:
                stretch[number, True] = (value, place)
    kept = {place for stretch in extremes for _, place in stretch.values()} | {0, len(points) - 1}
    return [points[place] for place in sorted(kept)]
