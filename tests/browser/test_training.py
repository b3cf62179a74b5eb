"""A run on the page: checkpoints, answers and best validation, one run at a time."""

import re

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import expect

from core.runs.run_folder import find_run, list_runs
from tests.app_process import running_app
from tests.browser.conftest import PHONE, photograph, tab, wait_for_step

PROMPT = "The old man reads a book."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def app(folder):
    with running_app(folder) as app:
        yield app


def start(app, *settings: str) -> str:
    """Start a run of the demo preset through the API; returns its id."""
    return Client(app.url, verbose=False).predict(settings=list(settings), api_name="/start")["run_id"]


def training_page(app, open_page, **size):
    page = open_page(app.url, **size)
    tab(page, "Train")
    return page


def test_1_answers_checkpoints_and_the_best_validation_of_a_run(app, open_page):
    run_id = start(
        app, "training.max_steps=24", "training.eval_steps=8", "training.save_steps=8", "training.save_total_limit=3",
        f"training.sample_prompts=['{PROMPT}', 'Good morning.']",
    )  # fmt: skip
    page = training_page(app, open_page)
    expect(page.locator("#train-state .good")).to_contain_text("Finished", timeout=180_000)
    snapshot = find_run(app.runs_dir, run_id).snapshot()
    best = snapshot.best
    assert best.step in snapshot.checkpoints
    expect(page.locator("#train-state")).to_contain_text(f"{len(snapshot.checkpoints)} checkpoint")
    expect(page.locator("#charts .remark").first).to_have_text(
        f"best validation: step {best.step}, loss {best.eval_loss:.3g}"
    )
    expect(page.locator("#charts circle.best")).to_have_count(1)

    timeline = page.locator("#samples ul.timeline").first
    expect(page.locator("#samples .asked")).to_have_text([PROMPT, "Good morning."])
    expect(timeline.locator("li.base")).to_have_text(re.compile(re.escape(PROMPT)))
    newest = [sampled for sampled in snapshot.samples if sampled.by == "tuned"][-1]
    expect(timeline.locator("li.tuned span").first).to_have_text(newest.answers[0])
    expect(timeline.locator("li.tuned b").first).to_contain_text(f"step {newest.step}")
    photograph(page, "50-training-finished")

    expect(page.locator("#resume")).to_be_hidden()
    page.click("#compare-best")
    expect(page.locator("#best-words .good")).to_have_text(
        f"The checkpoint of step {best.step} is loaded: try it on the Compare tab.", timeout=60_000
    )
    expect(page.locator("#compare-best")).to_be_hidden()


def test_2_only_one_run_at_a_time(app, open_page):
    before = {run.id for run in list_runs(app.runs_dir)}
    page, second = training_page(app, open_page), training_page(app, open_page, size=PHONE)
    page.locator("#training-max_steps input").fill("5000")
    page.locator("#training-max_steps input").press("Tab")
    page.click("#start")
    wait_for_step(page, 2)
    wait_for_step(second, 2)
    expect(second.locator("#start")).to_be_disabled()
    expect(second.locator("#start")).to_have_text("Start training (a run is in progress)")
    (run_id,) = {run.id for run in list_runs(app.runs_dir)} - before
    with pytest.raises(AppError, match="This must wait: a run is in progress"):
        start(app)
    with pytest.raises(AppError, match="This must wait: a run is in progress"):
        Client(app.url, verbose=False).predict(api_name="/load_model")
    # As on a page that has not been updated yet, whose button can still be clicked.
    second.locator("#start").evaluate("button => { button.disabled = false; button.click(); }")
    step = find_run(app.runs_dir, run_id).snapshot().step
    wait_for_step(page, step + 2)
    assert {run.id for run in list_runs(app.runs_dir)} - before == {run_id}
    photograph(second, "51-training-phone")
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    second.click("#stop")
    expect(page.locator("#train-state .warning")).to_contain_text("what was trained is kept", timeout=60_000)
    expect(page.locator("#resume")).to_be_visible()
    expect(page.locator("#resume-words")).to_contain_text(re.compile(r"resumes after step \d+ of 5,000|starts over"))
    photograph(page, "52-training-stopped")
