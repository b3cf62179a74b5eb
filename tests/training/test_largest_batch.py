"""The largest batch that fits: the search alone, with made-up memory; then with real probes, and in a run with auto."""

import json
import threading
from contextlib import closing, contextmanager

import pytest

from core.memory.hardware import detect_machine, sample_memory
from core.memory.probe_log import exact_probe, latest_probe
from core.problems import Busy, TrainingError
from core.runs.events import BatchChosen, Estimated, Probed, StatusChanged
from core.runs.run_folder import list_runs
from core.settings.run_config import RunConfig
from core.threads import Stopped
from core.training.largest_batch import (
    expected_peak,
    find_batch,
    largest_batch,
    limit_gib,
    sizes_of,
    words_of_trying,
)
from core.workbench.workbench import Workbench
from tests.conftest import PROMPT, adapter_weights, differing, load_for, prepare_for, small_config

pytestmark = pytest.mark.slow

TRYING = words_of_trying(0).removesuffix("0")


def up_to(most: int):
    """Batches of up to `most` rows fit."""
    return lambda batch, tried=(): batch / 10 if batch <= most else None


@pytest.mark.parametrize(
    ("rows", "most", "sizes"),
    [
        (8, 8, [1, 2, 4, 8]), (8, 3, [1, 2, 4]), (8, 0, [1]), (1, 1, [1]), (64, 11, [1, 2, 4, 8, 16]),
        # Between two sizes it bisects; 12 has divisors that are not powers of two.
        (12, 5, [1, 2, 4, 6]), (60, 11, [1, 2, 4, 6, 12, 10]), (1024, 1024, [2**n for n in range(11)]),
        (7, 7, [1, 7]), (7, 6, [1, 7]), (36, 7, [1, 2, 4, 6, 12, 9]),
    ],
)  # fmt: skip
def test_the_search_doubles_then_bisects(rows, most, sizes):
    best, tried = largest_batch(sizes_of(rows), up_to(most))
    assert tried == tuple((size, up_to(most)(size)) for size in sizes)
    assert best == max((size for size in sizes if size <= most), default=None)


def test_the_largest_divisor_that_fits_is_found_whatever_fits():
    for rows in (1, 2, 7, 12, 16, 60, 97, 210, 1024):
        divisors = [size for size in range(1, rows + 1) if rows % size == 0]
        for most in range(rows + 1):
            best, tried = largest_batch(sizes_of(rows), up_to(most))
            assert best == max((size for size in divisors if size <= most), default=None)
            sizes = [size for size, _ in tried]
            assert len(sizes) == len(set(sizes)) <= 2 * rows.bit_length() + 1 and set(sizes) <= set(divisors)


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (1024, [2**n for n in range(11)]), (4096, [2**n for n in range(2, 11)]), (1025, [5, 25, 41, 205]),
        (2047, [23, 89]), (2**20, [1024]), (1021 * 3, [3, 1021]),
    ],
)  # fmt: skip
def test_batch_and_accumulation_stay_within_what_the_settings_allow(rows, sizes):
    assert sizes_of(rows) == sizes
    for size in sizes:
        settings = [
            f"training.per_device_train_batch_size={size}",
            f"training.gradient_accumulation_steps={rows // size}",
        ]
        assert RunConfig().with_settings(settings).training.effective_batch == rows


def test_the_limit_is_used_plus_free_memory_minus_the_headroom():
    memory = sample_memory().model_copy(
        update={"total_gib": 24.0, "available_gib": 20.0, "process_gib": 2.0, "reserved_gib": None}
    )
    assert limit_gib(memory, 0.1) == pytest.approx(19.6)
    assert limit_gib(memory.model_copy(update={"reserved_gib": 1.0}), 0.25) == pytest.approx(15.0)


def test_the_expected_peak_is_extrapolated_from_two_that_fit():
    assert expected_peak((), 1) == expected_peak(((1, None),), 2) == 0.0
    assert expected_peak(((1, 2.0),), 2) == 2.0, "a larger batch needs at least as much"
    assert expected_peak(((1, 2.0), (2, 2.5)), 4) == pytest.approx(3.5)
    assert expected_peak(((1, 9.0), (2, 2.0), (4, 3.0), (8, None)), 6) == pytest.approx(4.0)


@pytest.fixture(scope="module")
def config(unsloth, stories, rows):
    return small_config(
        stories, rows, "training.max_steps=4", "training.per_device_train_batch_size=auto", "adapter.lora_dropout=0.2",
        "training.gradient_accumulation_steps=4", "training.eval_steps=3", "training.save_steps=2",
    )  # fmt: skip


@pytest.fixture(scope="module")
def shared(config):
    """A model for several searches, which leave it as it was."""
    return load_for(config)


@contextmanager
def memory_for(loaded, rows: int):
    """A batch of more rows needs more memory than there is: torch's own allocator refuses it."""
    import torch

    def refuse(module, args, kwargs) -> None:
        if len(kwargs["input_ids"]) > rows:
            torch.empty(2**48, dtype=torch.float32)

    hook = loaded.model.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize(("most", "tried"), [(3, [1, 2, 4]), (1, [1, 2])])
def test_real_probes_find_what_fits_and_change_nothing(config, shared, most, tried):
    before = {name: weight.detach().clone() for name, weight in shared.model.named_parameters()}
    batch, announced, measured = tried[-2], [], []
    with memory_for(shared, most):
        found = find_batch(
            shared,
            config,
            prepare_for(config, shared),
            trying=lambda size, earlier: announced.append((size, len(earlier))),
            measured=lambda sized, _: measured.append(sized.training),
        )
    assert (found.batch, found.accumulation, found.headroom) == (batch, 4 // batch, 0.1)
    assert announced == list(zip(tried, range(3), strict=False))
    assert [(size, peak is not None) for size, peak in found.tried] == [(size, size <= most) for size in tried]
    sizes = [(training.per_device_train_batch_size, training.gradient_accumulation_steps) for training in measured]
    assert sizes == [(size, 4 // size) for size in tried if size <= most]
    assert all(weight.equal(before[name]) for name, weight in shared.model.named_parameters())


@pytest.mark.parametrize("limit", [None, 0.01])
def test_with_too_little_headroom_one_row_is_taken_and_no_more_is_risked(config, shared, limit, monkeypatch):
    """Also if the limit, here a hundredth of a GiB, is less than the first row needs."""
    import core.training.largest_batch

    if limit:
        monkeypatch.setattr(core.training.largest_batch, "limit_gib", lambda memory, headroom: limit)
    config, probed = config.with_settings(["training.auto_batch_headroom=0.999"]), []
    found = find_batch(shared, config, measured=lambda sized, measured: probed.append(sized.training))
    assert (found.batch, found.accumulation, found.headroom) == (1, 4, 0.999)
    assert found.tried[0][1] > 0 and found.tried[1:] == ((2, None),)
    # Without a GPU, running out of memory can end the program: two rows were not even tried.
    assert [training.per_device_train_batch_size for training in probed] == [1]


def test_the_search_begins_with_the_smallest_batch_that_the_accumulation_allows(config, shared):
    many = config.with_batch(64, 64).with_settings(["training.auto_batch_headroom=0.999"])
    found = find_batch(shared, many)
    assert (found.batch, found.accumulation, [size for size, _ in found.tried]) == (4, 1024, [4, 8])


@pytest.mark.parametrize("rows_per_step", [4, 64 * 64])
def test_if_not_even_the_smallest_batch_fits_the_error_says_what_would_help(config, shared, rows_per_step):
    many = config.with_batch(rows_per_step // 4, 4) if rows_per_step > 4 else config
    with memory_for(shared, 0), pytest.raises(TrainingError) as refused:
        find_batch(shared, many, prepare_for(config, shared))
    assert "checkpointing" in refused.value.values["changes"]


# On the workbench


@pytest.fixture(scope="module")
def bench(unsloth, tmp_path_factory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("auto") / "runs")


@pytest.fixture(scope="module")
def run(bench, config):
    run = bench.start(config, "auto")
    assert bench.wait(200).status == "completed", bench.snapshot.message
    return run


def events_of(run) -> list:
    from core.runs.events import from_line

    return [from_line(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]


def test_a_run_with_auto_finds_its_batch_and_trains_as_one_with_that_batch(bench, config, run):
    snapshot = run.snapshot()
    chosen = snapshot.batch_chosen
    assert (chosen.batch, chosen.accumulation) == (4, 1)
    assert [size for size, _ in chosen.tried] == [1, 2, 4] and all(peak > 0 for _, peak in chosen.tried)
    messages = [e.message for e in events_of(run) if isinstance(e, StatusChanged)]
    expected = [words_of_trying(size) for size in (1, 2, 4)]
    at = messages.index(expected[0])
    assert messages[at : at + 4] == [*expected, ""]
    (change,) = [change for change in snapshot.receipt.changes if change.setting == "per_device_train_batch_size"]
    assert (change.asked, change.runs) == ("auto", "4 × 1")
    assert "4" in change.reason
    assert run.config().training.per_device_train_batch_size == "auto"
    plain = config.with_batch(4, 1)
    same = bench.start(plain, "plain")
    assert bench.wait(200).status == "completed", bench.snapshot.message
    assert differing(adapter_weights(run), adapter_weights(same)) == []
    assert [c for c in same.snapshot().receipt.changes if c.setting == "per_device_train_batch_size"] == []
    # What the search measured is that run's probe.
    assert same.snapshot().probed.peak_gib == chosen.tried[2][1]
    assert exact_probe(bench.runs_dir, detect_machine(), plain).peak_gib == chosen.tried[2][1]


def test_the_summary_has_estimate_probe_and_reality(run):
    snapshot = run.snapshot()
    memory = json.loads((run.folder / "summary.json").read_text())["memory"]
    assert memory == {
        "estimate": snapshot.estimated.before_probe_gib,
        "probe": snapshot.probed.peak_gib,
        "reality": snapshot.finished.peak_memory_gib,
    }
    assert all(0 < figure < 24 for figure in memory.values())
    # An estimate corrected by a probe of exactly these settings equals the probe.
    assert snapshot.estimated.comparable_gib == pytest.approx(memory["probe"]) != pytest.approx(memory["estimate"])
    kinds = [type(event) for event in events_of(run)]
    assert kinds.index(BatchChosen) < kinds.index(Estimated) < kinds.index(Probed)
    assert sum(snapshot.estimated.parts.values()) == pytest.approx(snapshot.estimated.total_gib)


def test_a_resumed_run_keeps_its_batch(bench, config, wait_until):
    run = bench.start(config.with_settings(["training.max_steps=500"]), "stopped")
    wait_until(lambda: bench.snapshot.step >= 3, "a step after the first checkpoint", 120)
    bench.stop()
    assert bench.wait(100).status == "stopped"
    before = run.snapshot()
    again = Workbench(bench.runs_dir)
    again.resume(run.id)
    wait_until(lambda: again.snapshot.step > before.step, "a further step", 120)
    again.stop()
    again.wait(100)
    assert again.snapshot.batch_chosen == before.batch_chosen
    assert [event for event in events_of(run) if isinstance(event, BatchChosen)] == [before.batch_chosen]
    assert again.snapshot.receipt.changes[0].runs == "4 × 1"


def test_probes_are_not_runs(bench, run):
    assert (bench.runs_dir / "probes").is_dir()
    assert "probes" not in {found.id for found in list_runs(bench.runs_dir)}


def test_a_search_on_request_reports_what_it_tried_and_found(bench, config):
    config = config.with_settings(["adapter.r=4", "training.gradient_accumulation_steps=2"])
    found = bench.find_batch(config)
    assert (found.batch, found.accumulation) == (2, 1)
    state = bench.probing
    assert (state.doing, state.error, state.note, state.found, state.tried) == ("", "", "", found, found.tried)
    assert state.record.settings["training.per_device_train_batch_size"] == 2
    assert state.record.peak_gib == found.tried[-1][1]
    assert latest_probe(bench.runs_dir, detect_machine(), config) == state.record


def test_a_search_can_be_stopped_and_nothing_else_runs_meanwhile(bench, config, run, wait_until):
    long = config.with_settings(["model.max_seq_length=512", "training.gradient_accumulation_steps=1024"])
    ended = []

    def search() -> None:
        try:
            bench.find_batch(long)
        except Stopped as stopped:
            ended.append(stopped)

    thread = threading.Thread(target=search)
    thread.start()
    wait_until(lambda: bench.probing.doing.startswith(TRYING), "the first try", 100)
    with pytest.raises(Busy):
        bench.start(config, "too early")
    bench.stop_probe()
    thread.join(120)
    assert len(ended) == 1 and (bench.probing.doing, bench.probing.error) == ("", "")
    assert bench.busy_with == ""
    after = bench.start(config.with_batch(4, 1), "after a stop")
    assert bench.wait(200).status == "completed", bench.snapshot.message
    assert differing(adapter_weights(after), adapter_weights(run)) == []


def test_a_run_can_be_stopped_while_it_searches_its_batch(bench, config, wait_until):
    long = config.with_settings(["training.gradient_accumulation_steps=1024"])
    stopped = bench.start(long, "stopped early")
    wait_until(lambda: bench.snapshot.message.startswith(TRYING), "the first try", 100)
    bench.stop()
    snapshot = bench.wait(120)
    assert snapshot.status == "stopped" and "nothing was trained" in snapshot.message
    assert snapshot.batch_chosen is None and not stopped.has_adapter and bench.busy_with == ""
    # The adapter that was put on for the search belongs to no run: there is nothing to compare.
    assert (bench.model_state.adapter, bench.model_state.report, bench.compare_ready) == ("", None, False)


def test_after_a_probe_the_base_answers(bench, config):
    from core.answering.sampling import Sampling

    bench.load_model(config.model)
    with closing(bench.lab.compare(PROMPT, "", Sampling(max_new_tokens=6))) as answers:
        *_, (fresh, _, _) = answers
    bench.probe(config.with_batch(2, 2))
    assert bench.model_state.report is not None and bench.model_state.adapter == ""
    with closing(bench.lab.compare(PROMPT, "", Sampling(max_new_tokens=6))) as answers:
        *_, (probed, tuned, _) = answers
    assert (probed.text, tuned) == (fresh.text, None)
