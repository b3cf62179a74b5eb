"""Every bench runs at its smallest and prints its figures. How good they are takes real sizes, and is not asserted."""

import csv
import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.setup import set_up
from tests.conftest import PROJECT
from tests.warm_process import warm_python

pytestmark = pytest.mark.slow

# A model of 128 would have layers of 341, and for odd widths bitsandbytes compiles a kernel of its own.
SMALL_MODEL = ["--hidden-size", "192", "--layers", "2"]


def figures_of(module: str, *arguments: str) -> dict[str, dict]:
    """What a bench prints when it runs in a process of its own: the figures of each report, by the report's name.

    That process and those it starts are warm ones, where the libraries are already imported.
    """
    return _figures("-m", module, *arguments)


def _figures(*argv: str) -> dict[str, dict]:
    done = subprocess.run([warm_python(), *argv], cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"bench"')]
    for report in reports:
        wrong = [name for name, value in report.items() if isinstance(value, float) and not math.isfinite(value)]
        assert wrong == [], report
    return {report.pop("bench"): report for report in reports}


def assert_positive(figures: dict, names: str) -> None:
    assert all(figures[name] > 0 for name in names.split()), figures


def test_what_answers_measuring_and_many_runs_cost():
    """Three benches in one process."""
    arguments = {
        "pair": ["1", "--tokens", "4", *SMALL_MODEL],
        "evaluate": ["4", "192", "2", "--one-by-one", "1"],
        "soak": ["4", "--steps", "2"],
    }
    runs = "; ".join(f"bench.{name}.main.main({given}, standalone_mode=False)" for name, given in arguments.items())
    imports = ", ".join(f"bench.{name}" for name in arguments)
    found = _figures("-c", f"import {imports}; {runs}")
    assert list(found) == list(arguments)
    assert_positive(found["pair"], "base_s tuned_s other_s pair_s three_s pair_ratio three_ratio switch_s adapter_gib")
    assert found["pair"]["tokens"] == 4
    assert_positive(found["evaluate"], "rows_a_minute one_by_one_rows_a_minute ratio")
    assert found["evaluate"]["rows"] == 4
    assert_positive(found["soak"], "MiB MiB_after_third MiB_ratio threads threads_ratio system_threads handles")
    assert found["soak"]["runs"] == 4 and {"files", "temporary", "temporary_ratio"} <= found["soak"].keys()


def test_our_run_is_compared_with_a_bare_script():
    found = figures_of("bench.overhead", "1", "--steps", "2", *SMALL_MODEL)["overhead"]
    assert_positive(found, "ours_steps_per_s bare_steps_per_s speed_ratio ours_peak_gib bare_peak_gib memory_ratio")


def test_a_run_beside_busy_programs_is_compared_with_one_alone():
    found = figures_of("bench.contention", "1", "--steps", "1")["contention"]
    assert_positive(found, "cores all_threads_s chosen_s idle_ratio beside_busy_programs_s busy_ratio")
    assert found["same_adapter"] is True and found["load"] >= 0


def test_preparing_data_is_compared_with_a_bare_script():
    found = figures_of("bench.data", "50", "--previews", "1")["data"]
    assert found["rows"] == 50
    assert_positive(found, "file_mib preview_s ours_s bare_s time_ratio")
    assert "extra_mib" in found and "bare_extra_mib" in found


def test_the_start_is_compared_with_an_empty_page():
    assert_positive(figures_of("bench.startup", "1", "--no-warm-up")["startup"], "ours_s empty_s ratio")


def test_polls_of_a_folder_of_runs():
    arguments = ["--runs", "3", "--steps", "100", "--seconds", "1"]
    found = figures_of("bench.page", *arguments)
    assert list(found) == ["page, until it answers", "page, first polls", "page, later polls"]
    assert_positive(found["page, first polls"], "median_ms largest_ms largest_bytes")
    assert_positive(found["page, later polls"], "median_ms largest_ms")  # nothing is sent when nothing has changed


def test_polls_while_a_run_trains():
    arguments = ["--clients", "2", "--rounds", "1", "--seconds", "4", "--warm-up-steps", "1"]
    found = figures_of("bench.page", *arguments)["page, while it trains"]
    assert found["clients"] == 2 and found["polls"] >= 2 and found["errors"] == 0
    assert_positive(found, "median_ms steps_per_s steps_per_s_with_clients ratio clients_cores processor_s_per_step")


def test_the_first_load_is_light_and_nothing_moves():
    """Compared with an empty page, and in a desktop's window and a phone's; the bars of all that is not time."""
    if not (shutil.which("chromium-headless-shell") or shutil.which("chromium")):
        pytest.skip("Chromium is not installed")
    found = figures_of("bench.page", "--loads", "1", "--warm-up-steps", "120")  # a checkpoint is saved
    assert list(found) == ["page, first load", "page, a run starts", "page, opened during a run"]
    load = found["page, first load"]
    assert_positive(load, "seconds_ratio requests empty_requests bytes empty_bytes")
    assert load["requests_ratio"] <= 2 and load["bytes_ratio"] <= 2, load
    for name, figures in found.items():
        shifts = [figures[f"{size}_layout_shift"] for size in ("desktop", "phone")]
        assert max(shifts) < 0.02, (name, figures)
        if name != "page, a run starts":
            assert (figures["other_hosts"], figures["console_errors"]) == (0, 0), (name, figures)


def test_the_estimate_is_compared_with_real_runs():
    small = [word for setting in ("model.max_seq_length=32", "adapter.r=4") for word in ("--set", setting)]
    found = figures_of("bench.memory_here", "--runs", "1", "--layers", "1", *small)
    assert list(found) == ["estimate with suggestions", "memory here", "memory here, all"]
    assert_positive(found["estimate with suggestions"], "median_ms worst_ms")
    assert_positive(found["memory here"], "measured_gib estimated_gib")
    assert found["memory here, all"]["worst"] == abs(found["memory here"]["error"])


def test_the_estimate_is_compared_with_published_measurements(tmp_path: Path):
    compared = {
        "model": "meta-llama/Llama-2-7b-hf",
        "quant": "nf4-dq",
        "rank": "16",
        "target_modules": "all",
        "batch": "1",
        "seq_len": "512",
        "grad_ckpt": "yes",
        "attn": "flash",
        "peak_gb": "7.5",
        "unit": "GiB allocated",
        "source": "huggingface/peft",
        "kind": "measured",
    }
    with (tmp_path / "points.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(compared))
        writer.writeheader()
        writer.writerows([compared, compared | {"seq_len": ""}, compared | {"source": "nobody"}])
    found = figures_of("bench.memory", str(tmp_path / "points.csv"))
    assert list(found) == ["memory, measured", "memory, all"]
    assert found["memory, all"]["rows"] == 1 and found["memory, all"]["left_out"] == 2
    assert 0 < found["memory, all"]["median_error"] == found["memory, all"]["worst"] < 1


def test_exports_are_compared_with_copying_the_files():
    found = figures_of("bench.export", "1", "--size", "tiny")
    assert list(found) == ["export, merged", "export, q8_0"]
    for figures in found.values():
        assert_positive(figures, "seconds cpu_s copy_s ratio anonymous_gib")


def test_exports_of_the_demo_are_timed():
    """Without GGUF: warm processes have no standard input, by which llama.cpp's process is told what to do."""
    found = figures_of("bench.export_demo", "20", "--to", "adapter", "--to", "merged")
    assert list(found) == ["exports of the demo, tested", "exports of the demo, not tested"]
    for figures in found.values():
        assert_positive(figures, "seconds cpu_s")
        assert figures["failed"] == 0


def test_setting_up_is_compared_with_pip_alone(long, tmp_path, monkeypatch):
    """At its smallest it would still download everything twice: without --long, only what is set up."""
    if long:
        found = figures_of("bench.setup")
        assert_positive(found["setup"], "uv_s pip_s ratio")
        for tool in ("uv", "pip"):
            assert_positive(found[f"first page after {tool}"], "first_s later_s ratio")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(subprocess.CalledProcessError):
        set_up(tmp_path, with_uv=False)
    copied = tmp_path / "app"
    assert (copied / "app.py").is_file() and (copied / "ui" / "page.py").is_file()
    wanted = {path.name: path.read_text(encoding="utf-8") for path in copied.glob("requirements*.txt")}
    assert wanted.keys() == {path.name for path in PROJECT.glob("requirements*.txt")}
    assert not any(line.startswith("uv") for text in wanted.values() for line in text.splitlines())
