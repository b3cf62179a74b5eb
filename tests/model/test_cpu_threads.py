"""Which number of threads is chosen, from how long steps take; tests/training has what a run makes of it."""

from collections.abc import Callable

from core.model.cpu_threads import ThreadTrials

Seconds = Callable[[int, int], float]  # of a step, by its number of threads and its own number, from 0


def chosen(most: int, seconds: Seconds, steps: int, tokens: Callable[[int], int] = lambda step: 1) -> list[int]:
    """How many threads each step had, on a machine where steps take so long."""
    trials, found = ThreadTrials(most), []
    for step in range(steps):
        found.append(trials.next)
        trials.add(seconds(trials.next, step), tokens(step))
    return found


def idle(threads: int, step: int) -> float:
    return {1: 1.33, 2: 1.0}[threads]


def busy(threads: int, step: int) -> float:
    return {1: 2.0, 2: 30.0}[threads]


def test_an_idle_machine_soon_works_with_all_threads_and_a_busy_one_with_one():
    assert chosen(2, idle, 200) == [1] * 3 + [2] * 197
    assert chosen(2, busy, 200) == [1] * 3 + [2] + [1] * 196
    assert chosen(1, lambda threads, step: 1.0, 20) == [1] * 20


def test_trying_more_threads_costs_a_twentieth_of_the_time():
    """With all threads a step takes 28 seconds longer, so they are tried again after 560 seconds: after 280 steps."""
    found = chosen(2, busy, 3000)
    assert [step for step, threads in enumerate(found) if threads == 2] == list(range(3, 3000, 281))
    assert sum(busy(threads, step) for step, threads in enumerate(found)) < 1.06 * 3000 * 2.0


def test_threads_are_tried_again_when_other_programs_come_and_go():
    def came(threads: int, step: int) -> float:
        return (busy if step >= 50 else idle)(threads, step)

    def went(threads: int, step: int) -> float:
        return (idle if step >= 50 else busy)(threads, step)

    assert chosen(2, came, 100) == [1] * 3 + [2] * 49 + [1] * 48, "two slow steps are most of the latest three"
    assert chosen(2, went, 100) == [1] * 3 + [2] + [1] * 48 + [2] * 48


def test_a_slow_first_step_and_a_hiccup_decide_nothing():
    hiccups = {0: 40.0, 4: 1.4, 20: 30.0}
    assert chosen(2, lambda threads, step: hiccups.get(step, idle(threads, step)), 40) == [1] * 3 + [2] * 37


def test_steps_on_longer_rows_are_not_slower():
    def tokens(step: int) -> int:
        return 500 if step > 20 else 100

    assert chosen(2, lambda threads, step: tokens(step) * idle(threads, step), 40, tokens) == [1] * 3 + [2] * 37


def test_as_many_as_are_best_are_found_by_doubling_and_halving():
    best_with_two = {1: 3.5, 2: 2.0, 4: 4.0, 8: 16.0}
    assert chosen(8, lambda threads, step: best_with_two[threads], 14) == [4] * 3 + [8] + [2] * 3 + [1] + [2] * 6
    assert chosen(6, lambda threads, step: 1 / threads, 12) == [3] * 3 + [6] * 9
    assert chosen(6, lambda threads, step: float(threads), 12) == [3] * 3 + [6] + [1] * 8
