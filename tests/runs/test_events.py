"""Events: one line each, there and back, and their sum as an immutable snapshot."""

import pytest
from pydantic import ValidationError

from core.runs.events import (
    FINAL,
    AdapterPushed,
    BatchChosen,
    Change,
    Estimated,
    Evaluated,
    Finished,
    HeldOut,
    LearningGroup,
    MemorySampled,
    Probed,
    Receipt,
    Resumed,
    Sampled,
    StatusChanged,
    StepDone,
    Working,
    from_line,
    to_line,
)
from core.runs.snapshot import MAX_POINTS, MAX_SAMPLES, Snapshot, fold, fold_all

GROUP = LearningGroup(name="embeddings", learning_rate=5e-5, weight_decay=0.01, parameters=32768)
CHANGE = Change(setting="optim", asked="adamw_8bit", runs="adamw_torch_fused", reason="no GPU")
RECEIPT = Receipt(
    time=2.0, trainable_parameters=79008, total_parameters=339040, groups=(GROUP,), precision="4-bit",
    optimizer="AdamW", max_steps=10, train_rows=9, validation_rows=1, trained_tokens_share=0.25,
    notes=("tied",), changes=(CHANGE,),
)  # fmt: skip
ESTIMATED = Estimated(time=1.5, total_gib=5.5, comparable_gib=5.0, parts={"weights": 4.0, "overhead": 1.5})
PROBED = Probed(time=1.6, peak_gib=5.25, seconds_per_step=2.5, length=2048)
CHOSEN = BatchChosen(time=1.4, batch=2, accumulation=4, tried=((1, 4.5), (2, 5.25), (4, None)))
HELDOUT = HeldOut(time=8.0, rows=1, base_loss=3.0, tuned_loss=0.1, base_exact=0.0, tuned_exact=1.0)
FINISHED = Finished(
    time=9.0, steps=2, train_loss=1.5, eval_loss=None, runtime_s=4.0, tokens_per_s=50.0, peak_memory_gib=1.0,
    peak_memory_for_training_gib=0.5, total_memory_gib=8.0, adapter_dir=None,
)  # fmt: skip


def step(number: int, elapsed: float, **values) -> StepDone:
    known = {"time": 3.0, "max_steps": 10, "epoch": 0.5, "loss": 2.0, "learning_rate": 1e-4, "tokens": 100 * number}
    return StepDone(step=number, elapsed=elapsed, **known | values)


def test_an_estimate_without_its_probe_is_known_of_new_runs_only():
    assert ESTIMATED.by_itself_gib == 5.0
    new = ESTIMATED.model_copy(update={"before_probe_gib": 5.5})
    assert (from_line(to_line(new)), new.by_itself_gib) == (new, 5.5)
    assert "before_probe_gib" not in to_line(ESTIMATED) and from_line(to_line(ESTIMATED)) == ESTIMATED


EVENTS = [
    StatusChanged(time=1.0, status="preparing", message="Getting ready — “yes”\nand so on"),
    RECEIPT,
    StatusChanged(time=2.5, status="training"),
    Working(time=2.6, words="Saving", done=1, total=2),
    step(1, 4.0),
    MemorySampled(time=3.5, used_by_us_gib=1.0, in_use_gib=2.0, total_gib=8.0, available_gib=6.0, power=30.5),
    step(2, 5.0, grad_norm=0.75),
    Evaluated(time=6.0, step=2, eval_loss=1.25),
    HELDOUT,
    FINISHED,
    AdapterPushed(time=9.4, step=2, url="https://huggingface.co/ada/yoda"),
    AdapterPushed(time=9.5, trouble="The network is gone."),
    StatusChanged(time=10.0, status="completed", message="Finished."),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_an_event_is_one_line_and_comes_back_equal(event):
    line = to_line(event)
    assert "\n" not in line
    assert from_line(line) == event


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "make",
    [lambda n: step(1, 1.0, grad_norm=n), lambda n: Evaluated(step=1, eval_loss=n),
     lambda n: HeldOut(rows=1, base_loss=1.0, tuned_loss=n)],
    ids=["step", "evaluated", "heldout"],
)  # fmt: skip
def test_an_event_with_a_number_that_is_none_is_not_lost(make, number):
    event = make(number)
    back = from_line(to_line(event))
    assert type(back) is type(event)


def test_the_fold_adds_everything_up():
    snapshot = fold_all(Snapshot(run_id="r", name="n"), EVENTS)
    assert snapshot == Snapshot(
        run_id="r", name="n", status="completed", message="Finished.", started=1.0, ended=10.0, receipt=RECEIPT,
        steps=(EVENTS[4], EVENTS[6]), evaluations=(EVENTS[7],), memory=(EVENTS[5],), heldout=HELDOUT, finished=FINISHED,
        pushed=EVENTS[11],
    )  # fmt: skip


def test_the_fold_leaves_what_it_was_given_alone():
    before = fold_all(Snapshot(run_id="r"), EVENTS[:4])
    copy = before.model_copy(deep=True)
    for event in EVENTS:
        assert fold(before, event) is not before
    assert before == copy
    with pytest.raises(ValidationError):
        before.status = "failed"


@pytest.mark.parametrize("status", ["preparing", "training", "stopping", *sorted(FINAL)])
def test_only_the_last_four_statuses_end_a_run(status):
    snapshot = fold(Snapshot(), StatusChanged(time=5.0, status=status))
    assert snapshot.is_over == (status in {"completed", "stopped", "failed", "interrupted"})
    assert snapshot.ended == (5.0 if snapshot.is_over else None)


def test_the_rest_of_the_time_counts_from_the_second_step_on():
    training = StatusChanged(status="training")
    assert fold_all(Snapshot(), [training, step(1, 100.0)]).seconds_left is None
    running = fold_all(Snapshot(), [training, step(1, 100.0), step(2, 102.0), step(3, 104.0)])
    assert running.seconds_left == 14.0  # 7 steps at 2 s, the slow first one left out
    assert running.tokens_per_s == 300 / 104
    assert fold(running, StatusChanged(status="stopping")).seconds_left is None


def test_while_it_takes_no_steps_a_run_says_what_it_does_and_no_time_is_left():
    running = fold_all(Snapshot(), [StatusChanged(status="training"), step(1, 1.0), step(2, 2.0)])
    assert (running.doing, running.seconds_left, running.has_all_steps) == ("", 8.0, False)
    measuring = fold(running, Working(words="Measuring the base", done=1200, total=6400))
    assert (measuring.doing, measuring.seconds_left) == ("Measuring the base, 1,200 of 6,400", None)
    stopping = fold_all(running, [StatusChanged(status="stopping", message="Stopping"), Working(words="Saving")])
    assert (stopping.doing, stopping.status) == ("Saving", "stopping")
    assert fold(measuring, Working()) == running, "back at its steps"
    last = fold(measuring, step(10, 10.0))
    assert (last.doing, fold(last, Working()).doing, last.has_all_steps) == (measuring.doing, "Finishing", True)
    assert fold(last, Working()).seconds_left is None, "all steps are taken: what follows takes no 0:00"
    for over in (StatusChanged(status="completed", message="Finished."), Resumed(step=1)):
        assert fold(measuring, over).working is None


def test_the_time_of_a_run_is_one_figure():
    snapshot = fold_all(Snapshot(), [step(1, 430.0), step(2, 438.0)])
    assert (Snapshot().seconds, snapshot.seconds) == (None, 438.0)
    assert fold(snapshot, FINISHED.model_copy(update={"runtime_s": 445.2})).seconds == 445.2


def test_the_number_of_steps_is_known_from_the_receipt_on():
    assert Snapshot().max_steps == 0
    assert fold(Snapshot(), RECEIPT).max_steps == 10
    assert Snapshot(steps=(step(1, 1.0, max_steps=12),)).max_steps == 12


@pytest.mark.parametrize(
    "line", ["", "{", "null", "[]", '{"type": "step"}', '{"type": "other"}', to_line(RECEIPT)[:-9]]
)
def test_a_line_that_is_no_event_is_passed_over(line):
    assert from_line(line) is None


@pytest.fixture(scope="module")
def long_run() -> list:
    """100,000 steps with a spike, a dip and a loss that is no number among them, and what comes between."""
    events = []
    for number in range(1, 100_001):
        loss = {41_337: 900.0, 66_666: -1.0, 50_000: float("nan")}.get(number, 1 + number % 13 / 10)
        events.append(
            step(number, number * 0.5, loss=loss, grad_norm=77.0 if number == 12_345 else 1.0, max_steps=100_000)
        )
        if number % 20 == 0:
            events.append(Evaluated(time=3.0, step=number, eval_loss=0.25 if number == 7_000 else 1.0))
        if number % 4 == 0:
            memory = 9.0 if number == 4_444 else 1.0
            events.append(
                MemorySampled(time=float(number), used_by_us_gib=memory, in_use_gib=2, total_gib=8, available_gib=6)
            )
        if number % 1000 == 0:
            events.append(Sampled(time=3.0, step=number, by="tuned", prompts=("a",), answers=(f"at {number}",)))
    return events


@pytest.fixture(scope="module")
def long_snapshot(long_run) -> Snapshot:
    return fold_all(Snapshot(), long_run)


def test_a_long_run_folded_one_by_one_is_the_same_as_all_at_once(long_run, long_snapshot):
    one_by_one = Snapshot()
    for event in long_run:
        one_by_one = fold(one_by_one, event)
    # By their text, because a loss that is no number does not equal itself.
    assert repr(one_by_one) == repr(long_snapshot)


def test_a_long_run_is_the_same_whatever_pieces_it_is_read_in(long_run, long_snapshot):
    snapshot = Snapshot()
    for start in range(0, len(long_run), 7_777):
        snapshot = fold_all(snapshot, long_run[start : start + 7_777])
    assert repr(snapshot) == repr(long_snapshot)


def test_a_long_run_keeps_its_ends_and_extremes_and_little_else(long_snapshot):
    for history, first, last in (
        (long_snapshot.steps, 1, 100_000),
        (long_snapshot.evaluations, 20, 100_000),
        (long_snapshot.samples, 1_000, 100_000),
    ):
        numbers = [event.step for event in history]
        assert numbers[0] == first and numbers[-1] == last and numbers == sorted(set(numbers))
        assert len(numbers) <= MAX_POINTS
    by_step = {event.step: event for event in long_snapshot.steps}
    assert (by_step[41_337].loss, by_step[66_666].loss, by_step[12_345].grad_norm) == (900.0, -1.0, 77.0)
    assert (long_snapshot.best.step, long_snapshot.best.eval_loss) == (7_000, 0.25)
    assert max(long_snapshot.memory, key=lambda sampled: sampled.used_by_us_gib).time == 4_444
    assert len(long_snapshot.memory) <= MAX_POINTS and len(long_snapshot.samples) <= MAX_SAMPLES


def test_what_was_expected_is_told_and_folded():
    told = [CHOSEN, ESTIMATED, PROBED]
    assert [from_line(to_line(event)) for event in told] == told
    snapshot = fold_all(Snapshot(), told)
    assert (snapshot.batch_chosen, snapshot.estimated, snapshot.probed) == (CHOSEN, ESTIMATED, PROBED)
    newer = ESTIMATED.model_copy(update={"time": 9.0, "total_gib": 6.0})
    assert fold(snapshot, newer) == snapshot.model_copy(update={"estimated": newer})


@pytest.mark.parametrize("step", [0, 2])
def test_a_run_that_goes_on_keeps_the_batch_that_it_found(step):
    snapshot = fold_all(Snapshot(), [CHOSEN, ESTIMATED, *EVENTS, Resumed(time=20.0, step=step)])
    assert snapshot.batch_chosen == CHOSEN and snapshot.estimated == ESTIMATED


@pytest.mark.parametrize(
    "line",
    [
        '{"time": 1, "type": "batch", "batch": 0, "accumulation": 4}', '{"time": 1, "type": "batch", "batch": 2}',
        '{"time": 1, "type": "batch", "batch": 2, "accumulation": 4, "tried": [[1]]}',
        '{"time": 1, "type": "batch", "batch": 2, "accumulation": 4, "tried": [[1, NaN]]}',
        '{"time": 1, "type": "estimated", "total_gib": 1, "comparable_gib": NaN, "parts": {}}',
        '{"time": 1, "type": "probed", "peak_gib": 1e300, "seconds_per_step": 1}',
    ],
)  # fmt: skip
def test_damaged_lines_of_what_was_expected_are_passed_over(line):
    assert from_line(line) is None


def test_a_history_from_before_there_were_estimates_is_read_as_ever():
    snapshot = fold_all(Snapshot(run_id="r", name="n"), EVENTS)
    assert (snapshot.estimated, snapshot.probed, snapshot.batch_chosen) == (None, None, None)
    assert from_line('{"time": 1.0, "type": "probed", "peak_gib": 2.0, "seconds_per_step": 1.0}').length == 0
