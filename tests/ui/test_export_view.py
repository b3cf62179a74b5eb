"""The Export tab's words and commands, and what its route hands to the browser."""

import asyncio
import io
import re
import zipfile
from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette

from core.export.checks import Check
from core.export.export_files import files_of
from core.export.record import Exported, save
from core.export.wanted import Wanted, default_folder
from core.runs.events import Finished
from core.runs.run_folder import create_run
from core.settings.presets import find_preset
from core.threads import in_own_thread
from core.visitors.policy import DEMO
from core.visitors.visits import Visits
from core.workbench.workbench import Workbench
from ui.export.download import Downloads
from ui.export.export_view import Sizes, head_text, made_text, rough
from ui.export.script_view import commands, flavor, hours
from ui.report.report import make_report
from ui.visitors import VISITOR, as_seen_here

CONFIG = find_preset("demo-yoda").config


def export_of(run, to: str = "ollama") -> Exported:
    folder = default_folder(run, to).resolve()
    folder.mkdir(parents=True)
    (folder / "Modelfile").write_text("FROM ./x.gguf\n")
    (folder / "x-q8_0.gguf").write_bytes(bytes(range(256)) * 9000)  # more than one piece
    made = Exported(Wanted(to, folder), folder, files_of(folder), made=1764.5)
    save(made, run)
    return made


def get(downloads: Downloads, visitor: str = "", **asked) -> httpx.Response:
    page = Starlette(routes=[downloads.route()])
    transport = httpx.ASGITransport(lambda scope, receive, send: page(scope | {VISITOR: visitor}, receive, send))

    async def ask():
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.get("/export-file", params=asked)

    return in_own_thread(lambda: asyncio.run(ask()))


def test_files_are_served_one_by_one_and_as_a_zip_file(runs_dir):
    run = create_run(runs_dir, "made", CONFIG)
    made, downloads = export_of(run), Downloads(Workbench(runs_dir))
    one = get(downloads, run=run.id, made="1764.5", name="x-q8_0.gguf")
    assert one.content == (made.out / "x-q8_0.gguf").read_bytes()
    assert one.headers["content-disposition"] == 'attachment; filename="x-q8_0.gguf"'
    whole = zipfile.ZipFile(io.BytesIO(get(downloads, run=run.id, made="1764.5").content))
    assert whole.testzip() is None
    assert {name: whole.read(name) for name in whole.namelist()} == {
        file.path.name: file.path.read_bytes() for file in made.files
    }


@pytest.mark.parametrize("asked", [{"name": "../config.yaml"}, {"name": "config.yaml"}, {"made": "2.0"}, {"run": ".."}])
def test_nothing_else_is_served(runs_dir, asked):
    run = create_run(runs_dir, "made", CONFIG)
    export_of(run)
    answer = get(Downloads(Workbench(runs_dir)), **{"run": run.id, "made": "1764.5", "name": "Modelfile"} | asked)
    assert (answer.status_code, answer.text) == (404, "This export is no longer there; export the run again.")


def test_a_visitor_gets_only_their_own(runs_dir):
    run = create_run(runs_dir, "made", CONFIG, "ann")
    export_of(run)
    downloads = Downloads(as_seen_here(Visits(Workbench(runs_dir), DEMO)))
    asked = {"run": run.id, "made": "1764.5", "name": "Modelfile"}
    assert get(downloads, "ann", **asked).text == "FROM ./x.gguf\n"
    assert get(downloads, "bob", **asked).status_code == get(downloads, **asked).status_code == 404


def test_sizes_and_times_are_said_before(tmp_path):
    sizes = Sizes(parameters=8_030_000_000, adapter=3_000_000, free=500 * 10**9)
    merged = head_text("merged", Wanted("merged", tmp_path), sizes)
    assert "about 16.06 GB (500 GB free)" in merged and "about 89 s" not in merged and "about 90 s" in merged
    both = head_text("gguf", Wanted("gguf", tmp_path, quant=("f16", "q8_0")), sizes)
    assert "about 24.59 GB" in both
    assert "about 3.0 MB" in head_text("adapter", Wanted("adapter", tmp_path), sizes)
    assert "unknown" in head_text("merged", Wanted("merged", tmp_path), Sizes(free=10**9))
    assert [rough(seconds) for seconds in (0, 4.9, 38, 94, 150, 600)] == [
        "a few seconds", "a few seconds", "about 40 s", "about 90 s", "about 2 min", "about 10 min",
    ]  # fmt: skip


def test_commands_name_the_files_and_a_hostile_name_is_text(runs_dir):
    run = create_run(runs_dir, "made", CONFIG)
    made = export_of(run)
    shown = made_text(run, [made], can_open=False)
    assert f"ollama create made -f {made.out / 'Modelfile'}" in shown
    assert f"llama-cli -m {made.out / 'x-q8_0.gguf'}" in shown
    assert "Not tested" in shown and "Open folder" not in shown
    hostile = made.out / "<b>.gguf"
    hostile.write_text("x")
    shown = made_text(run, [Exported(made.wanted, made.out, files_of(made.out), made=2.0)], can_open=True)
    assert "<b>" not in shown and "&lt;b&gt;.gguf" in shown and "Open folder" in shown


def test_the_report_has_the_self_tests_of_exports(runs_dir):
    run = create_run(runs_dir, "made", CONFIG)
    made = export_of(run)
    assert "self-test" not in make_report(run), "it was not tested"
    check = Check("x-q8_0.gguf", 0.5, 2e-5, 1.0, 23, 24, 0.1234, 0.1233, True)
    save(replace(made, checks=(check,), step=40), run)
    report = make_report(run)
    assert "GGUF for Ollama, checkpoint at step 40" in report and str(made.out) not in report
    row = report[report.index("x-q8_0.gguf") :][:300]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row) == [
        "0.5", "2e-05", "100.00%", "23 of 24", "0.1234", "0.1233", "passed",
    ]  # fmt: skip


def test_an_export_onto_the_original_weights_shows_both_losses(runs_dir):
    run = create_run(runs_dir, "made", CONFIG)
    made = export_of(run)
    check = Check("x-q8_0.gguf", 0.5, 2e-5, 1.0, 23, 24, 0.1501, 0.15, True, loss_as_tried=0.125)
    sentence = "Loss on the rows of the self-test: 0.1250 as you tried it, 0.1500 on the original weights."
    assert sentence in made_text(run, [replace(made, checks=(check,))], can_open=False)
    usual = replace(check, loss_as_tried=None)
    assert "Loss on the rows" not in made_text(run, [replace(made, checks=(usual,))], can_open=False)


def test_the_script_s_commands_are_filled_in(runs_dir, tmp_path):
    run = create_run(runs_dir, "made", CONFIG)
    assert (flavor(run), hours(run)) == ("t4-small", 24), "the demo fits anywhere; how long it takes is not known yet"
    figures = dict.fromkeys(
        ("tokens_per_s", "peak_memory_gib", "peak_memory_for_training_gib", "total_memory_gib"), 1.0
    )
    run.append(Finished(steps=10, runtime_s=4000.0, **figures))
    assert hours(run) == 4
    folder = tmp_path / "a folder"
    job = dict(commands(run, folder))["As a job on Hugging Face, which leaves the adapter in a bucket of yours:"]
    assert job.startswith(
        f'hf jobs uv run --flavor t4-small --timeout 4h --secrets HF_TOKEN -v "{folder}:/work:rw" -v "'
    )
    assert job.endswith(f'"{folder}/train.py" --rows /work/rows.parquet --out /work/adapter --base /base')
    large = create_run(runs_dir, "large", CONFIG.with_settings(["model.model_name=unsloth/Llama-3.3-70B-Instruct"]))
    assert flavor(large) in ("a100-large", "rtx-pro-6000", "h200") and "/base" not in commands(large, folder)[-1][1]
