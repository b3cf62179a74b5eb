"""The command line as a user or a script sees it: real commands, their output and their exit codes."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.runs.run_folder import open_run
from tests.app_process import ENVIRONMENT, PROJECT, run_app, start

pytestmark = pytest.mark.slow

RESULT = {
    "run_id", "run_dir", "status", "message", "steps", "train_loss", "eval_loss", "runtime_s", "tokens_per_s",
    "peak_memory_gib", "adapter_dir", "heldout",
}  # fmt: skip
HELDOUT = {"rows", "base_loss", "tuned_loss", "base_exact", "tuned_exact", "base_ends", "tuned_ends"}


def test_presets_are_listed_as_json():
    done = run_app("presets", "--json")
    assert done.returncode == 0
    names = [preset["name"] for preset in json.loads(done.stdout)]
    assert names[0] == "demo-yoda"
    assert set(names) == {path.stem for path in (PROJECT / "presets").glob("*.yaml")}


@pytest.mark.parametrize("arguments", [["--help"], ["presets"], ["train", "--help"]])
def test_help_and_presets_do_not_import_heavy_libraries(arguments):
    code = f"import sys, app; sys.argv[1:] = {arguments}; app.main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "numpy", "gradio", "huggingface_hub", "rich", "core.workbench.workbench"}
    assert heavy & set(done.stderr.split()) == set() and done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The JSON output of a short run of the demo preset on the command line."""
    runs_dir = tmp_path_factory.mktemp("cli") / "runs"
    done = run_app("train", "demo-yoda", "--set", "training.max_steps=3", "--runs-dir", str(runs_dir), "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "libraries print to standard error"
    return json.loads(done.stdout)


def test_train_prints_one_line_of_json(trained):
    assert set(trained) == RESULT
    assert set(trained["heldout"]) == HELDOUT
    assert (trained["status"], trained["steps"], trained["heldout"]["rows"]) == ("completed", 3, 64)
    assert trained["heldout"]["base_exact"] < 0.05


def test_the_printed_result_matches_the_run_folder(trained):
    snapshot = open_run(PROJECT / trained["run_dir"]).snapshot()
    assert snapshot.finished.train_loss == trained["train_loss"]
    assert snapshot.evaluations[-1].eval_loss == trained["eval_loss"]
    assert snapshot.heldout.tuned_loss == trained["heldout"]["tuned_loss"]
    assert [step.step for step in snapshot.steps] == [1, 2, 3]


def test_compare_answers_every_prompt(trained):
    prompts = ["The old man reads a book.", "Anna sings in the garden."]
    done = run_app("compare", trained["run_dir"], "--prompt", prompts[0], "--prompt", prompts[1], "--json")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["prompt"] for answer in answers] == prompts
    assert [answer["base"] for answer in answers] == prompts, "the base repeats a sentence"
    assert all(answer["max_logit_difference"] > 0 for answer in answers)


def test_evaluate_prints_and_saves_its_measures(trained, tmp_path):
    done = run_app("evaluate", trained["run_dir"], "--rows", "6", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    measures = {measure["key"]: measure for measure in found["measures"]}
    assert (found["rows"], found["source"]["kind"], found["forgetting"]["prompts"] > 20) == (6, "validation", True)
    assert measures["loss"]["tuned"] < measures["loss"]["base"] and measures["exact"]["base"] == 0.0
    kept = list((PROJECT / trained["run_dir"] / "evaluations").glob("*.json"))
    assert [json.loads(file.read_text()) for file in kept] == [found]

    prompts = tmp_path / "prompts.txt"
    prompts.write_text("The old man reads a book.\nAnna sings in the garden.\n", encoding="utf-8")
    done = run_app("evaluate", trained["run_dir"], "--prompts", str(prompts))
    assert done.returncode == 0, done.stderr
    assert re.search(r"prompts.txt: 2 rows", done.stdout) and "Ends by itself" in done.stdout
    assert "Exact match" not in done.stdout, "prompts have no reference answers"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")
def so_far(file: Path) -> str:
    """What a program that still runs has written; it may be within a character."""
    return file.read_text(encoding="utf-8", errors="replace")


def test_ctrl_c_stops_an_evaluation_and_nothing_is_saved(trained, tmp_path, wait_until):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"instruction": f"{n} cats sleep.", "output": "x " * 99}) + "\n" for n in range(4000))
    )
    folder = PROJECT / trained["run_dir"] / "evaluations"
    before = list(folder.glob("*")) if folder.exists() else []
    # Without a terminal the progress bar is drawn only at the end, so this process is made to believe it has one.
    terminal = {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "COLUMNS": "120"}
    process = start("evaluate", trained["run_dir"], "--data", str(rows), "--rows", "4000", environment=terminal)
    wait_until(lambda: re.search(r"[1-9]\d* of 4,000 rows", so_far(process.stderr_file)), "measured rows", 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, "it stops after the current token, not after all rows"
    errors = process.stderr_file.read_text()
    assert process.stdout_file.read_text() == ""
    assert "Traceback" not in errors and errors.endswith("Stopped; nothing was saved.\n")
    assert (list(folder.glob("*")) if folder.exists() else []) == before


def test_report_writes_one_file_with_the_measures(trained):
    done = run_app("report", trained["run_dir"])
    assert done.returncode == 0, done.stderr
    text = (PROJECT / done.stdout.strip()).read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and "Ends by itself" in text and "<script" not in text


def test_recipes_are_listed():
    done = run_app("recipe")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "dialogue-summaries", "korean-60-steps", "korean-two-stages", "price-from-text", "yoda"
    ]  # fmt: skip


def test_a_recipe_runs_to_its_report_and_a_bad_one_exits_with_2(tmp_path):
    file, runs = tmp_path / "mine.yaml", str(tmp_path / "runs")
    stage = {
        "name": "one",
        "model": {"model_name": "presets/demo-llama", "max_seq_length": 128},
        "adapter": {"modules_to_save": []},
        "training": {"max_steps": 2, "use_gradient_checkpointing": False},
    }
    file.write_text(json.dumps({"title": "Mine", "measures": {"rows": 3}, "stages": [stage]}), encoding="utf-8")
    done = run_app("recipe", str(file), "--set", "one.training.max_steps=1", "--runs-dir", runs, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["status"], found["steps_done"], found["steps"]) == ("completed", 3, 3)
    assert (found["questions"], found["answers"], found["exports"]) == ([], [], [])
    (run,) = found["runs"]
    assert open_run(Path(runs) / run["run_id"]).config().training.max_steps == 1
    (measures,) = found["measures"]
    assert measures["run_id"] == run["run_id"] and {"loss", "rouge_1", "rouge_2", "rouge_l"} <= set(measures)
    report = Path(found["report"]).read_text(encoding="utf-8")
    assert report.startswith("<!DOCTYPE html>") and "Mine" in report
    assert [row.split("  ")[0] for row in done.stderr.splitlines() if " of 3  " in row] == [
        "1 of 3",
        "2 of 3",
        "3 of 3",
    ]

    for arguments, said in (
        (["nothing"], "There is no recipe 'nothing'"),
        ([str(file), "--set", "two.training.max_steps=1"], "The recipe has no stage 'two'; its stages are one."),
        ([str(file), "--small"], "mine.yaml: This recipe has no section small"),
        ([found["recipe_id"]], f"The recipe {found['recipe_id']} is done; start it again from its name."),
        ([found["recipe_id"], "--small"], "A recipe that was started keeps its settings"),
    ):
        refused = run_app("recipe", *arguments, "--runs-dir", runs)
        assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
        assert refused.stderr.splitlines()[-1].startswith(said)


def test_export_prints_its_files_with_their_hashes(trained, tmp_path):
    run = trained["run_dir"]
    for to in ("adapter", "merged"):
        done = run_app("export", run, "--to", to, "--out", str(tmp_path / to), "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["to"], result["out"], result["base"]) == (to, str(tmp_path / to), "trained")
        files = {Path(file["path"]): (file["bytes"], file["sha256"]) for file in result["files"]}
        assert set(files) == set((tmp_path / to).iterdir())
        assert files == {path: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}
        here = str(PROJECT).encode()
        assert [path.name for path in files if here in path.read_bytes()] == []
        (check,) = result["check"]["rows"]
        assert result["check"]["passed"] and check["greedy_of"] == 24
        assert set(check) == {
            "file", "max_logit_difference", "mean_kl", "top1", "greedy_equal", "greedy_of", "loss"
        }  # fmt: skip


@pytest.mark.parametrize("command", [["export", "--to", "adapter", "--no-check"], ["script"]])
def test_a_folder_with_other_files_is_not_replaced(trained, tmp_path, command):
    name, *options = command
    (tmp_path / "mine.txt").write_text("mine")
    done = run_app(name, trained["run_dir"], *options, "--out", str(tmp_path))
    assert done.returncode == 2 and str(tmp_path) in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "no-such-preset"], "There is no preset 'no-such-preset'"),
        (["train"], "Missing argument"),
        (["train", "demo-yoda", "--set", "training.max_stps=3"], "did you mean training.max_steps?"),
        (["train", "demo-yoda", "--set", "adapter.r=0"], "at least 1"),
        (["train", "demo-yoda", "--set", "data.path=nowhere.jsonl"], "There is no file nowhere.jsonl"),
        (["train", "demo-yoda", "--set", "model.model_name=./nowhere"], "There is no folder ./nowhere"),
        (["compare", "no-such-run", "--prompt", "Hello"], "There is no run 'no-such-run'"),
        (["evaluate", "no-such-run"], "There is no run 'no-such-run'"),
        (["evaluate", "a-run", "--data", "a", "--prompts", "b"], "Give --data or --prompts, not both"),
        (["report", "no-such-run"], "There is no run 'no-such-run'"),
        (["--auth", "ada"], "--auth takes a name and a password"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_bad_input_prints_one_sentence_and_exits_with_2(arguments, message, tmp_path):
    if arguments[0] in ("train", "compare", "evaluate", "report"):
        arguments = [*arguments, "--runs-dir", str(tmp_path)]
    done = run_app(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_failed_run_exits_with_1(tmp_path):
    """The model's weights are so large that its loss becomes NaN or infinite."""
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(PROJECT / "presets" / "demo-llama", model)
    weights = load_file(model / "model.safetensors")
    save_file({name: weight * 1e30 for name, weight in weights.items()}, model / "model.safetensors", {"format": "pt"})
    done = run_app("train", "demo-yoda", "--set", f"model.model_name={model}", "--runs-dir", str(tmp_path / "runs"))
    assert done.returncode == 1
    message = r"The loss became (nan|inf) at step \d: lower the learning rates or lengthen the warm-up\."
    assert re.fullmatch(message, done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr


def test_a_probe_prints_its_record_and_corrects_the_estimate(tmp_path):
    small = [
        "--set",
        "training.per_device_train_batch_size=2",
        "--set",
        "model.max_seq_length=64",
        "--runs-dir",
        str(tmp_path),
    ]
    done = run_app("probe", "demo-yoda", "--json", *small)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["length"] == 64 and record["seconds_per_step"] > 0 and record["steps"] == 160
    found = json.loads(run_app("estimate", "demo-yoda", "--json", *small).stdout)
    assert found["is_corrected_by_a_probe"] and found["total_gib"] == pytest.approx(record["peak_gib"])
    other_card = json.loads(run_app("estimate", "demo-yoda", "--gpu", "8GB", "--json", *small).stdout)
    assert not other_card["is_corrected_by_a_probe"]
    text = run_app("estimate", "demo-yoda", *small).stdout
    assert f"About {record['peak_gib']:.1f} GiB of the " in text and ", corrected by a probe:" in text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")
def test_ctrl_c_stops_a_probe(tmp_path, wait_until):
    large = ["--set", "training.per_device_train_batch_size=64", "--set", "training.gradient_accumulation_steps=2"]
    process = start("probe", "demo-yoda", *large, "--runs-dir", str(tmp_path))
    # Unsloth prints this once the model is loaded.
    wait_until(lambda: "LlamaForCausalLM on" in so_far(process.stderr_file), "the model", 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    errors = process.stderr_file.read_text()
    assert process.stdout_file.read_text() == ""
    assert "Traceback" not in errors and errors.endswith("Stopped; nothing was measured.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")
def test_ctrl_c_stops_the_run_and_keeps_its_adapter(tmp_path, wait_until):
    process = start("train", "demo-yoda", "--set", "training.max_steps=5000", "--runs-dir", str(tmp_path))

    def steps() -> int:
        return sum(len(open_run(path.parent).snapshot().steps) for path in tmp_path.glob("*/events.jsonl"))

    wait_until(lambda: steps() >= 2, "two steps", timeout=120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert "Traceback" not in process.stderr_file.read_text()
    (folder,) = (events.parent for events in tmp_path.glob("*/events.jsonl"))
    run = open_run(folder)
    assert run.snapshot().status == "stopped"
    assert run.has_adapter and run.preset == "demo-yoda"
    said = f"Demo Llama · yoda.jsonl · 5,000 steps: {run.snapshot().message} The run is in {folder}\n"
    assert process.stdout_file.read_text(encoding="utf-8") == said
