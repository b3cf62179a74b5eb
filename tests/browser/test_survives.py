"""A killed program's run is resumed and completed, from the Runs tab and on the command line."""

import os
import signal

from gradio_client import Client
from playwright.sync_api import expect

from core.runs.run_folder import list_runs
from tests.app_process import run_app, running_app, start
from tests.browser.conftest import PHONE, close, photograph, tab

SETTINGS = [
    "training.max_steps=20",
    "training.eval_steps=10",
    "training.save_steps=5",
    "data.validation_share=0.02",
]


def test_the_runs_tab_resumes_an_interrupted_run(tmp_path, open_page, wait_until):
    with running_app(tmp_path) as app:
        Client(app.url, verbose=False).predict("demo-yoda", SETTINGS, api_name="/start")
        (run,) = list_runs(app.runs_dir)
        wait_until(lambda: 5 in run.snapshot().checkpoints, "a checkpoint", 120)
        os.kill(app.process.pid, signal.SIGKILL)
        app.process.wait()
    assert run.snapshot().status == "training"
    with running_app(tmp_path) as app:
        page = open_page(app.url, PHONE)
        tab(page, "Runs")
        page.locator("#runs-table tbody th button").first.click()
        expect(page.locator("#run-resume")).to_be_visible(timeout=30_000)
        photograph(page, "60-interrupted-run-phone")
        page.click("#run-resume")
        tab(page, "Train")
        expect(page.locator("#train-state .good")).to_contain_text("Finished", timeout=180_000)
        photograph(page, "61-resumed-phone")
        close(page)  # before the program ends
    after = run.snapshot()
    assert [step.step for step in after.steps] == list(range(1, 21))
    assert after.status == "completed" and after.heldout.rows == 14


def test_the_command_line_resumes_too(tmp_path, wait_until):
    runs_dir = tmp_path / "runs"
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    process = start("train", "demo-yoda", *settings, "--runs-dir", str(runs_dir))
    wait_until(lambda: any(run.checkpoints() for run in list_runs(runs_dir)), "a checkpoint", 180)
    process.kill()
    process.wait()
    (run,) = list_runs(runs_dir)
    done = run_app("resume", run.id, "--runs-dir", str(runs_dir), "--json")
    assert done.returncode == 0, done.stderr
    assert '"status": "completed"' in done.stdout and '"steps": 20' in done.stdout
    again = run_app("resume", run.id, "--runs-dir", str(runs_dir))
    assert again.returncode == 2
    assert again.stderr.strip().endswith(
        f"Run {run.id} is complete; to train it further, start a run that continues from it."
    )
