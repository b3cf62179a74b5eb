"""The Runs tab in a real browser, with trained runs and with generated ones."""

import re
import shutil

import pytest
from playwright.sync_api import expect

from core.runs.events import Evaluated, StatusChanged
from core.runs.run_folder import create_run, list_runs
from core.settings.run_config import RunConfig
from tests.app_process import run_app, running_app
from tests.browser.conftest import DESKTOP, PHONE, close, photograph, reload, tab, unfold
from tests.runs.test_run_list import make_run

TRAINED = "Demo Llama · yoda.jsonl · 8 steps"
HOSTILE = '<img src=x onerror="document.title=1"><b>bold</b>'


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Two trained runs with checkpoints, a failed one, one with a hostile name, and one without settings."""
    folder = tmp_path_factory.mktemp("runs")
    settings = [
        "training.max_steps=8", "training.eval_steps=4", "training.save_steps=4", "training.learning_rate=1e-3",
        "data.validation_share=0.02", "training.sample_prompts=[You are late.]", "training.seed=7",
    ]  # fmt: skip
    chosen = [f"--set={setting}" for setting in settings]
    done = run_app("train", "demo-yoda", "--runs-dir", str(folder / "runs"), *chosen)
    assert done.returncode == 0, done.stderr
    (trained,) = list_runs(folder / "runs")
    # The second differs in nothing but its learning rate, which needs no other training.
    other = shutil.copytree(trained.folder, folder / "runs" / f"{trained.id}-2")
    config = trained.config().with_settings(["training.learning_rate=4e-3"])
    (other / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    failed = make_run(folder / "runs", "price", status="failed", figures=False)
    (failed.folder / "log.txt").write_text("Traceback\n<b>OutOfMemoryError</b>\n")
    make_run(folder / "runs", HOSTILE).write_about(note=HOSTILE)
    damaged = make_run(folder / "runs", "hurt")
    (damaged.folder / "config.yaml").unlink()
    with running_app(folder) as app:
        yield app


@pytest.fixture
def runs_page(page):
    """The Runs tab of the file's page, with all runs listed, none chosen and none open."""
    tab(page, "Runs")
    page.locator("#runs-search input").fill("")
    expect(page.locator("#runs-table .runs-foot")).to_have_text(re.compile(r"^\d+ runs\s*$"))
    for button in (page.get_by_role("button", name="Clear selection"), page.locator("#run-close")):
        if button.is_visible():
            button.click()
        expect(button).to_be_hidden()
    return page


def names(page) -> list[str]:
    return page.locator("#runs-table tbody th").all_inner_texts()


def open_run(page, name: str) -> None:
    page.locator("#runs-table tbody th button", has_text=name).first.click()
    expect(page.locator("#run-head h2")).to_contain_text(name, timeout=30_000)


def test_1_sort_and_search(runs_page):
    page = runs_page
    assert sorted(names(page)) == [HOSTILE, TRAINED, TRAINED, "hurt", "price"]
    photograph(page, "40-runs")
    page.get_by_role("button", name="Best loss").click()
    expect(page.locator('th[aria-sort="descending"]')).to_have_text("Best loss ▾")
    best = [float(text.split()[0]) for text in page.locator("#runs-table tbody tr td:nth-child(5)").all_inner_texts()]
    assert len(best) == 5 and best == sorted(best, reverse=True)
    page.get_by_role("button", name="Name", exact=True).click()
    expect(page.locator("#runs-table tbody th").first).to_have_text(HOSTILE)
    assert names(page) == [HOSTILE, TRAINED, TRAINED, "hurt", "price"]
    page.locator("#runs-search input").fill("failed PRI")
    expect(page.locator("#runs-table .runs-foot")).to_have_text("1 of 5 runs")
    assert names(page) == ["price"]
    page.locator("#runs-search input").fill("nothing like it")
    expect(page.locator("#runs-table")).to_contain_text("None of the 5 runs has all of these words.")


def test_2_an_open_run_shows_its_details(runs_page):
    page = runs_page
    open_run(page, TRAINED)
    expect(page.locator("#run-course .linear polyline.train")).to_be_visible()
    expect(page.locator("#run-course")).to_contain_text("What really trains")
    expect(page.locator("#run-course")).to_contain_text("On 14 rows that it was not trained on")
    expect(page.locator("#run-samples")).to_contain_text("You are late.")
    saved = page.locator("#run-kept tbody tr")
    expect(saved).to_have_count(3)
    expect(saved.nth(1)).to_contain_text(re.compile(r"checkpoint at step 8\s+best"))
    expect(page.locator("#run-folder input, #run-folder textarea")).to_have_value(re.compile("/runs/"))
    page.get_by_role("button", name="Settings").last.click()
    expect(page.locator("#run-yaml textarea")).to_have_value(re.compile("model_name: presets/demo-llama"))
    expect(page.locator("#run-resume")).to_have_count(0)
    expect(page.get_by_text("Textbox", exact=True).locator("visible=true")).to_have_count(0)  # nothing hidden is shown
    photograph(page, "41-run-opened")
    open_run(page, "price")
    expect(page.locator("#run-resume")).to_be_visible()
    page.locator("#run-log summary").click()
    expect(page.locator("#run-log pre")).to_contain_text("<b>OutOfMemoryError</b>")
    open_run(page, "hurt")
    expect(page.locator("#run-head .warning")).to_contain_text(
        "Its config.yaml is missing, so its settings are unknown."
    )
    expect(page.locator("#run-settings")).to_be_hidden()


def test_3_a_name_is_shown_as_text_not_html(runs_page):
    page = runs_page
    open_run(page, HOSTILE)
    for place in ("#runs-table", "#run-head"):
        assert page.locator(f"{place} img, {place} b").count() == 0
    for name in (HOSTILE, "price"):
        page.locator("#runs-table tbody tr", has_text=name).locator("[role=checkbox]").click()
    expect(page.locator("#losses")).to_contain_text(HOSTILE)
    assert page.locator("#losses img, #differ img").count() == 0 and page.title() == "HearthTune"


def test_4_a_note_is_not_overwritten_while_typing(app, runs_page):
    page = runs_page
    open_run(page, "price")
    page.locator("#run-note textarea").fill("half a tho")
    other = create_run(app.runs_dir, "other", RunConfig())
    other.append(StatusChanged(status="training"))
    expect(page.locator("#runs-table tbody th", has_text="other")).to_be_visible()
    other.append(Evaluated(step=1, eval_loss=1.0))
    expect(page.locator("#runs-table")).to_contain_text("1.0000")
    assert page.locator("#run-note textarea").input_value() == "half a tho"
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.locator("#run-note textarea").fill("half a thought")
    page.locator("#run-name input, #run-name textarea").fill("prices, second try")
    page.click("#run-save")
    expect(page.locator("#run-trouble")).to_contain_text("Saved.")
    expect(page.locator("#runs-table tbody tr", has_text="prices, second try")).to_contain_text("half a thought")
    photograph(page, "42-run-renamed")
    reload(page)
    tab(page, "Runs")
    expect(page.locator("#runs-table tbody tr", has_text="half a thought")).to_contain_text(
        "prices, second try", timeout=30_000
    )
    (saved,) = [run for run in list_runs(app.runs_dir) if run.name == "prices, second try"]
    assert saved.note == "half a thought"
    open_run(page, "other")
    expect(page.locator("#run-delete")).to_be_disabled()
    expect(page.locator("#run-delete")).to_have_text("Delete (this run is in progress)")
    other.append(StatusChanged(status="completed"))
    expect(page.locator("#run-delete")).to_have_text("Delete")


def test_5_delete_undo_restore_and_empty_the_trash(app, runs_page):
    page = runs_page

    def delete():
        open_run(page, "hurt")
        page.click("#run-delete")
        expect(page.locator("#run-trouble")).to_contain_text(
            re.compile(r"\bMove hurt, \d+ \w+ \d\d:\d\d to the trash\?")
        )
        photograph(page, "43-run-to-delete")
        page.locator("#run-trouble [data-ask=delete]").click()
        expect(page.locator("#runs-said")).to_contain_text("hurt is in the trash")
        # Gradio may deliver an answer after a newer one; the table is then drawn again within two seconds.
        expect(page.locator("#runs-table tbody th", has_text="hurt")).to_have_count(0)
        expect(page.locator("#opened")).to_be_hidden()

    open_run(page, "hurt")
    page.click("#run-delete")
    page.locator("#run-trouble [data-ask=keep-run]").click()
    expect(page.locator("#run-trouble .notice")).to_have_count(0)
    expect(page.locator("#runs-table tbody th", has_text="hurt")).to_be_visible()
    delete()
    photograph(page, "43-run-deleted")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#runs-table tbody th", has_text="hurt")).to_be_visible()
    delete()
    page.get_by_role("button", name=re.compile(r"^Trash \(1 run, \d+ kB\)")).click()
    page.get_by_role("button", name="Put back").click()
    expect(page.locator("#runs-table tbody th", has_text="hurt")).to_be_visible()
    expect(page.locator("#deleted")).to_contain_text("The trash is empty.")
    delete()
    page.locator("#deleted [data-ask=empty]").click()
    expect(page.locator("#deleted")).to_contain_text(
        re.compile(r"Delete hurt for good\? This frees \d+ kB and cannot be undone.")
    )
    photograph(page, "44-trash")
    page.locator("#deleted [data-ask=keep]").click()
    expect(page.get_by_role("button", name="Put back")).to_be_visible()
    page.locator("#deleted [data-ask=empty]").click()
    page.locator("#deleted [data-ask=empty-now]").click()
    expect(page.locator("#runs-said")).to_contain_text("this freed")
    assert list((app.runs_dir / "trash").iterdir()) == []


def test_6_compare_several_runs(runs_page):
    page = runs_page
    page.locator("#runs-search input").fill("demo-yoda")
    expect(page.locator("#runs-table tbody tr")).to_have_count(2)
    for box in page.locator("#runs-table [role=checkbox]").all():
        box.click()
    expect(page.locator("#losses polyline")).to_have_count(2)
    lines = [line.get_attribute("class") for line in page.locator("#losses polyline").all()]
    assert lines == ["run run-1", "run run-2"]
    dashes = page.locator("#losses polyline").evaluate_all(
        "lines => lines.map(l => getComputedStyle(l).strokeDasharray + getComputedStyle(l).stroke)"
    )
    assert len(set(dashes)) == 2
    settings = page.locator("#differ section", has_text="Settings that differ")
    expect(settings.locator("tbody tr")).to_have_text([re.compile("Learning rate")])
    expect(settings.locator("tbody td")).to_have_count(2)
    assert sorted(settings.locator("tbody td").all_inner_texts()) == ["1e-3", "4e-3"]
    points = page.locator("#losses polyline").first.get_attribute("points")
    page.get_by_text("time", exact=True).click()
    expect(page.locator("#losses polyline").first).not_to_have_attribute("points", points)
    photograph(page, "45-runs-compared")


def test_7_with_the_keyboard_only(runs_page):
    page = runs_page
    page.locator("#runs-search input").focus()
    page.keyboard.type("demo")
    expect(page.locator("#runs-table tbody tr")).to_have_count(2)
    for _ in range(12 + 2):  # the search box, eleven headers, and the first row's checkbox and name
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == TRAINED
    page.keyboard.press("Enter")
    expect(page.locator("#run-head h2")).to_contain_text(TRAINED)
    assert page.evaluate("document.activeElement.innerText") == TRAINED, "the focus stays when the table is redrawn"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(page.locator("#runs-table [role=checkbox]").first).to_have_attribute("aria-checked", "true")


def test_8_on_a_phone(runs_page):
    page = runs_page
    page.set_viewport_size(PHONE)
    in_both_themes(page, "46-runs-phone")
    open_run(page, TRAINED)
    for box in page.locator("#runs-table [role=checkbox]").all()[:3]:
        box.click()
    expect(page.locator("#runs-chosen")).to_contain_text("3 runs")
    expect(page.locator("#losses")).to_be_visible()
    in_both_themes(page, "47-run-opened-phone")


def in_both_themes(page, name: str) -> None:
    """In light and in dark colors, nothing is wider than the page."""
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme=theme)
        expect(page.locator("body.dark")).to_have_count(1 if theme == "dark" else 0)
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        photograph(page, f"{name}-{theme}")


def test_9_a_checkpoint_is_loaded_and_trained_further(runs_page):
    page = runs_page
    open_run(page, TRAINED)
    first = page.locator("#run-kept tbody tr", has_text="checkpoint at step 4")
    first.get_by_role("button", name="Continue training").click()
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
    unfold(page, page.get_by_role("button", name="All settings"))
    expect(page.locator("#adapter-continue_from input, #adapter-continue_from textarea")).to_have_value(
        re.compile(r"-demo-yoda-2/checkpoints/step-4$")
    )
    expect(page.locator("#training-max_steps input")).to_have_value("8")
    tab(page, "Runs")
    first.get_by_role("button", name="Load to compare").click()
    expect(page.locator("#run-trouble .good")).to_contain_text(f"{TRAINED}, step 4, is loaded", timeout=120_000)
    tab(page, "Compare")
    expect(page.locator("#ask")).to_have_text("Ask both")


def wait_for_polls(page, count: int) -> None:
    for _ in range(count):
        page.wait_for_event("request", lambda request: "/live?" in request.url)


def test_no_runs_yet_then_a_thousand_which_are_listed_without_requests_while_idle(tmp_path, open_page):
    first = create_run(tmp_path / "others", "many", RunConfig())
    first.append(StatusChanged(status="completed"))
    with running_app(tmp_path) as app:
        page = open_page(app.url, PHONE)
        tab(page, "Runs")
        expect(page.locator("#runs-table")).to_contain_text("No runs yet.", timeout=30_000)
        photograph(page, "49-no-runs-phone")
        for number in range(1000):
            shutil.copytree(first.folder, app.runs_dir / f"{first.id}-{number}")
        page.set_viewport_size(DESKTOP)
        expect(page.locator("#runs-table .runs-foot")).to_contain_text("1,000 runs", timeout=60_000)
        assert len(names(page)) == 50
        requests = []
        wait_for_polls(page, 3)  # the last of the new runs may be announced after they are listed
        page.on("request", lambda request: requests.append(request.url))
        wait_for_polls(page, 4)
        assert [url for url in requests if "queue/join" in url] == []
        # What changes while the tab is closed waits there, and is shown when it is opened.
        tab(page, "Model")
        shutil.copytree(first.folder, app.runs_dir / f"{first.id}-more")
        wait_for_polls(page, 4)
        assert [url for url in requests if "queue/join" in url] == []
        tab(page, "Runs")
        expect(page.locator("#runs-table .runs-foot")).to_contain_text("1,001 runs", timeout=60_000)
        page.get_by_role("button", name="Show 50 more").click()
        expect(page.locator("#runs-table tbody tr")).to_have_count(100)
        photograph(page, "48-many-runs")
        close(page)


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
