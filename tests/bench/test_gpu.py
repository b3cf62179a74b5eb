"""The GPU bench as far as a CPU can test it: grid, record, report, and one measurement of each kind."""

import json
import subprocess
import sys

import pytest

from bench.gpu.__main__ import RECORD, REPORT, Session, _run, main
from bench.gpu.plan import KINDS, MEMORY_SETTINGS, REAL_SHAPES, SHAPES, TRAINERS, Measurement, measurements
from bench.gpu.plan import memory_config as config_of
from bench.gpu.report import render
from core.memory.cards import Card
from core.memory.estimate import estimate
from core.memory.model_shape import ModelShape
from tests.conftest import PROJECT
from tests.warm_process import warm_python

pytestmark = pytest.mark.slow

ON = {"device": "Some card", "device_gib": 23.6, "versions": {"python": "3.12.3", "torch": "2.11.0"}}
WAITS_FOR_EVER = ["-c", "import threading; threading.Event().wait()"]


def test_memory_is_measured_over_the_whole_range_for_each_size():
    grid = [one.arguments for one in measurements(REAL_SHAPES, ["memory"])]
    assert len(grid) == 27 >= 24
    for shape in REAL_SHAPES:
        of_shape = [tuple(at.values())[1:] for at in grid if at["shape"] == shape]
        assert sorted(of_shape, key=str) == sorted(MEMORY_SETTINGS, key=str)
    lengths, batches, embeddings, checkpointing = (set(values) for values in zip(*MEMORY_SETTINGS, strict=True))
    assert (min(lengths), max(lengths), min(batches), max(batches)) == (512, 8192, 1, 8)
    assert embeddings == {True, False}
    assert checkpointing == {True, "unsloth"}


def test_each_size_is_trained_by_each_trainer_and_no_name_is_twice():
    wanted = measurements(REAL_SHAPES, list(KINDS))
    names = [one.name for one in wanted]
    assert len(names) == len(set(names)) == 1 + 1 + 9 + 27
    assert {name for name in names if name.startswith("speed 8b")} == {f"speed 8b {trainer}" for trainer in TRAINERS}
    assert [one.name for one in wanted if one.kind == "pair"] == ["pair 8b"]
    # Time may end at any moment: first whether it works, then the pair, speed and memory, the largest model first.
    assert [one.name for one in wanted[:3]] == ["tests", "pair 8b", "speed 8b ours"]
    assert wanted[0].limit_s == 120 and all(one.limit_s <= 300 for one in wanted)


def test_parameters_are_those_of_the_real_llamas():
    counts = {name: ModelShape(**_model_shape(name)).parameters for name in REAL_SHAPES}
    assert counts == {"1b": 1_235_814_400, "3b": 3_212_749_824, "8b": 8_030_261_248}


def _model_shape(name: str) -> dict:
    shape = SHAPES[name] | {"max_length": 16384, "is_prequantized": True}
    return shape | {
        "tied_embeddings": shape["tie_word_embeddings"],
        "head_dim": shape["hidden_size"] // shape["num_attention_heads"],
    }


def test_the_report_gives_ratios_and_says_whether_bars_are_met():
    record = {
        "speed 8b ours": ON | {"steps_per_s": 0.5, "reserved_gib": 9.0},
        "speed 8b unsloth": ON | {"steps_per_s": 0.505, "reserved_gib": 8.0},
        "speed 8b trl": ON | {"steps_per_s": 0.25, "reserved_gib": 15.0},
        "speed 1b trl": {"error": "out of memory"},
        "pair 8b": ON | {"base_s": 1.0, "tuned_s": 1.5, "pair_s": 2.5, "one_pass": False, "ratio": 2.0},
        "tests": ON | {"outcomes": {"test_a_stop_keeps_what_was_trained": "passed"}, "noted": {"it lies on": "cpu"}},
    }
    lines = render(record).splitlines()
    assert "Measured on: Some card, 23.6 GiB; python 3.12.3, torch 2.11.0." in lines
    assert "| 8B | ours | 0.500 | 9.00 |  |  |" in lines
    assert "| 8B | bare Unsloth | 0.505 | 8.00 | 0.990 times, met | 1.125 times, **missed** |" in lines
    assert "| 8B | TRL + PEFT | 0.250 | 15.00 | 2.000 times | 0.600 times |" in lines
    assert "| 1B | TRL + PEFT | out of memory |  |  |  |" in lines
    assert "| 3B | ours | not measured yet |  |  |  |" in lines
    assert "| 1.00 s | 1.50 s | 2.50 s | no | 2.00 times, **missed** |" in lines
    assert "| a stop keeps what was trained | passed |" in lines
    assert "- it lies on: cpu" in lines
    assert "Not measured yet." in lines  # of memory


def test_tests_that_were_cut_short_are_shown_with_the_reason():
    lines = render({"tests": {"error": "took longer than 120 s", "outcomes": {"test_a": "passed"}, "noted": {}}})
    assert "Took longer than 120 s.\n\n| test | outcome |\n| --- | --- |\n| a | passed |\n" in lines


def test_the_report_makes_the_estimate_anew_and_sums_up_its_errors():
    record = {}
    for one, factor in zip(measurements(["1b"], ["memory"])[:3], (1.0, 1 / 1.04, 1 / 0.8), strict=True):
        at = dict(one.arguments)
        config, shape = config_of("model", "rows", **{k: v for k, v in at.items() if k != "shape"}), _model_shape("1b")
        card = Card(name="Some card", memory_gib=20.0, kept_gib=0.0)
        expected = estimate(config, ModelShape(**shape), card, longest=at["length"]).comparable_gib
        record[one.name] = ON | {
            "config": config.model_dump(), "model_shape": shape, "usable_gib": 20.0, "reserved_gib": expected * factor,
        }  # fmt: skip
    text = render(record)
    assert "Of 3 that fitted: median 4.0%, met, worst 20.0%, **missed**." in text
    rows = [line for line in text.splitlines() if line.startswith("| 1B | ") and "%" in line]
    errors = [row.rsplit("|", 2)[1].strip() for row in rows]
    assert errors == ["+0.0%", "+4.0%", "-20.0%"]


def test_an_empty_record_gives_no_figures_and_tiny_models_do_not_count():
    assert "**None of this has been measured yet.**" in render({})
    assert render({"speed tiny ours": ON | {"steps_per_s": 5.0, "reserved_gib": 1.0}}) == render({})
    assert render({}).count("Not measured yet.") == 4


def test_the_report_in_the_project_is_the_one_that_the_record_gives():
    assert REPORT.read_text(encoding="utf-8") == render(json.loads(RECORD.read_text()) if RECORD.exists() else {})


def test_a_measurement_that_hangs_is_recorded_and_one_cut_short_by_the_total_time_is_not(tmp_path):
    session = Session(tmp_path / "record.json", seconds=60)
    assert _run(WAITS_FOR_EVER, "hangs", 0.5, session) == {"error": "took longer than 0.5 s"}
    assert _run(WAITS_FOR_EVER, "hangs", 300, Session(tmp_path / "record.json", seconds=0.5)) is None
    assert _run(["-c", "raise SystemExit('no such thing')"], "fails", 60, session) == {"error": "no such thing"}
    begins = [
        "-c",
        f"""print('{{"outcomes": {{"a": "passed"}}, "error": "ended early"}}', flush=True)
{WAITS_FOR_EVER[1]}""",
    ]
    cut = _run(begins, "begins", 3, session)  # what it had found by then is kept
    assert cut == {"outcomes": {"a": "passed"}, "error": "took longer than 3 s"}
    talks = ["-c", """print('{"ratio": 2}'); print("more words")"""]
    assert _run(talks, "talks", 60, session)["ratio"] == 2


def test_the_record_is_not_measured_again_except_failures_on_request(tmp_path, capsys):
    session = Session(tmp_path / "record.json", seconds=60)
    for one in measurements(["tiny"], ["speed"]):
        session.keep(one.name, {"steps_per_s": 1.0} if "ours" in one.name else {"error": "it fell over"})
    assert main(["--shapes", "tiny", "--only", "speed", "--out", str(tmp_path / "record.json")]) == 1
    assert capsys.readouterr().out == "3 of 3 measured, failed: speed tiny unsloth, speed tiny trl\n"
    ours, theirs = Measurement("speed tiny ours", "speed"), Measurement("speed tiny trl", "speed")
    assert [session.is_to_do(one, again=True) for one in (ours, theirs)] == [False, True]
    assert main(["--shapes", "tiny", "--only", "memory", "--seconds", "1", "--out", str(tmp_path / "record.json")]) == 3


@pytest.mark.parametrize("wrong", [["--shapes", "70b"], ["--only", "colour"]])
def test_unknown_names_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        main(wrong)
    assert repr(wrong[1]) in capsys.readouterr().err


def measure_all(record, python: str, *more: str) -> subprocess.CompletedProcess:
    command = [python, "-m", "bench.gpu", "--shapes", "tiny", "--out", str(record), *more]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=400)


def test_one_of_each_is_really_measured_on_a_processor(tmp_path):
    """Warm processes are quick, but have Unsloth imported: TRL alone cannot be measured in one."""
    record = tmp_path / "record.json"
    done = measure_all(record, warm_python())
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed: speed tiny trl\n" in done.stdout
    assert "without Unsloth" in json.loads(record.read_text(encoding="utf-8"))["speed tiny trl"]["error"]
    done = measure_all(record, sys.executable, "--again")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(record.read_text(encoding="utf-8"))
    assert set(found) == {one.name for one in measurements(["tiny"], ["speed", "pair", "memory"])}
    for name, result in found.items():
        assert result["versions"]["torch"], name
        assert result["command"].startswith(f"python -m bench.gpu.measure {name.split()[0]} "), name
    assert all(found[f"speed tiny {trainer}"]["steps_per_s"] > 0 for trainer in TRAINERS)
    assert found["pair tiny"]["one_pass"] is True and found["pair tiny"]["ratio"] > 0.5
    (memory,) = (result for name, result in found.items() if name.startswith("memory"))
    assert memory["reserved_gib"] > 0.1
    assert memory["config"]["adapter"]["modules_to_save"] == ["embed_tokens", "lm_head"]
    assert ModelShape(**memory["model_shape"]).vocab_size == SHAPES["tiny"]["vocab_size"]
