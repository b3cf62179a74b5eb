"""Long series made short: what stands out stays, in order, however often they are thinned."""

from math import inf, nan

import pytest

from core.runs.thinning import thin


def x(point):
    return point[0]


def y(point):
    return point[1]


def z(point):
    return point[2]


def test_few_points_are_left_alone():
    points = [(0, 1.0), (1, nan), (2, 3.0)]
    assert thin(points, 3, x, y) == points


def test_each_stretch_keeps_its_lowest_and_highest():
    points = list(enumerate([5.0, 1.0, 9.0, 5.0, 5.0, 7.0, 2.0, 5.0, 5.0, 3.0, 8.0, 5.0]))
    assert thin(points, 8, x, y) == [(0, 5.0), (1, 1.0), (2, 9.0), (5, 7.0), (6, 2.0), (9, 3.0), (10, 8.0), (11, 5.0)]


def test_ends_and_spikes_of_a_hundred_thousand_points_stay_in_order():
    points = [(step, 1.0 + step % 7 / 100) for step in range(100_000)]
    points[61_234], points[777] = (61_234, 99.0), (777, -5.0)
    kept = thin(points, 300, x, y)
    assert len(kept) <= 300
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert points[61_234] in kept and points[777] in kept
    assert kept == sorted(kept)


@pytest.mark.parametrize("times", [2, 5, 20])
def test_thinned_again_it_loses_no_extreme(times):
    points, kept = [(step, (step * 7919) % 1009 / 7) for step in range(20_000)], []
    for start in range(0, len(points), len(points) // times):
        kept = thin(kept + points[start : start + len(points) // times], 300, x, y)
    assert max(map(y, kept)) == max(map(y, points)) and min(map(y, kept)) == min(map(y, points))
    assert kept[0] == points[0] and kept[-1] == points[-1]


def test_several_heights_each_keep_their_own_extremes():
    points = [(step, 1.0, None if step % 2 else 2.0) for step in range(1000)]
    points[333], points[666] = (333, 50.0, None), (666, 1.0, -7.0)
    kept = thin(points, 40, x, y, z)
    assert len(kept) <= 40
    assert points[333] in kept and points[666] in kept


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_what_is_no_number_does_not_stand_out(value):
    points = [(step, 1.0) for step in range(100)]
    points[50], points[51] = (50, value), (51, 3.0)
    kept = thin(points, 20, x, y)
    assert (51, 3.0) in kept
    assert all(height in (1.0, 3.0) for _, height in kept)


def test_all_at_one_place_are_one_stretch():
    assert thin([(5, 1.0), (5, 9.0), (5, 2.0), (5, 0.0), (5, 3.0)], 4, x, y) == [(5, 1.0), (5, 9.0), (5, 0.0), (5, 3.0)]
