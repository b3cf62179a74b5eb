"""A killed program's run is resumed and completed: from the Train tab, from the Runs tab and on the command line."""

import os
import shutil
import signal

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from core.runs.run_folder import Run, list_runs, open_run
from tests.app_process import run_app, running_app
from tests.browser.conftest import PHONE, photograph, tab

SETTINGS = [
    "training.max_steps=60",
    "training.eval_steps=10",
    "training.save_steps=5",
    "data.validation_share=0.01",
    "training.sample_prompts=[]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("survives")


@pytest.fixture(scope="module")
def killed(folder, wait_until) -> Run:
    """A copy of the only run in `folder`, as the program left it that was killed between two checkpoints."""
    with running_app(folder) as app:
        Client(app.url, verbose=False).predict("demo-yoda", SETTINGS, api_name="/start")
        (run,) = list_runs(app.runs_dir)
        wait_until(lambda: run.snapshot().step >= 6, "a step after a checkpoint", 120)
        os.kill(app.process.pid, signal.SIGKILL)
        app.process.wait()
    assert run.snapshot().status == "training"
    return open_run(shutil.copytree(run.folder, folder / "killed" / run.id))


@pytest.fixture(scope="module")
def app(folder, killed):
    """A new process with the same runs folder."""
    with running_app(folder) as app:
        yield app


def curve_ends(page) -> list[float]:
    """The x coordinates of the first and last point of the loss curve."""
    points = page.locator("#charts .linear polyline.train").get_attribute("points").split()
    return [float(points[index].partition(",")[0]) for index in (0, -1)]


def assert_whole(run: Run) -> None:
    after = run.snapshot()
    assert [step.step for step in after.steps] == list(range(1, 61)), "each step once, including those before the kill"
    assert after.status == "completed" and after.heldout.rows == 7


def test_the_train_tab_resumes_an_interrupted_run(app, page):
    (run,) = list_runs(app.runs_dir)
    tab(page, "Train")
    expect(page.locator("#train-state .warning")).to_contain_text(
        "The program ended before the run did.", timeout=30_000
    )
    last = run.snapshot().checkpoints[-1]
    expect(page.locator("#resume-words")).to_have_text(f"The run resumes after step {last} of 60.")
    photograph(page, "53-training-interrupted")
    page.click("#resume")
    expect(page.locator("#train-state .good")).to_contain_text("Finished", timeout=300_000)
    expect(page.locator("#resume")).to_be_hidden()
    assert_whole(run)
    left, right = curve_ends(page)
    assert left < 50 and right > 330, "the whole history is drawn"
    photograph(page, "54-training-resumed")


def test_the_runs_tab_resumes_an_interrupted_run(app, page, killed, wait_until):
    run = open_run(shutil.copytree(killed.folder, app.runs_dir / f"{killed.id}-again"))
    page.set_viewport_size(PHONE)
    tab(page, "Runs")
    page.locator("#runs-table tbody tr", has_text="interrupted").locator("th button").click()
    expect(page.locator("#run-resume")).to_be_visible(timeout=30_000)
    photograph(page, "60-interrupted-run-phone")
    page.click("#run-resume")
    wait_until(lambda: run.snapshot().status == "completed", "the run's end", 300)
    tab(page, "Train")
    expect(page.locator("#train-state .good")).to_contain_text("Finished")
    photograph(page, "61-resumed-phone")
    assert_whole(run)


def test_the_command_line_resumes_too(tmp_path, killed):
    runs_dir = tmp_path / "runs"
    run = open_run(shutil.copytree(killed.folder, runs_dir / killed.id))
    done = run_app("resume", run.id, "--runs-dir", str(runs_dir), "--json")
    assert done.returncode == 0, done.stderr
    assert '"status": "completed"' in done.stdout and '"steps": 60' in done.stdout
    assert_whole(run)
    again = run_app("resume", run.id, "--runs-dir", str(runs_dir))
    assert again.returncode == 2
    assert again.stderr.strip().endswith(
        f"Run {run.id} is complete; to train it further, start a run that continues from it."
    )


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
