"""The Measure tab with a briefly trained demo: the results, Stop, and an invalid file."""

import json
import re
import shutil

import pytest
from playwright.sync_api import expect

from core.evaluation.metrics import BY_KEY
from core.evaluation.saved import load_evaluations
from core.runs.run_folder import open_run
from tests.app_process import running_app_with_a_run
from tests.browser.conftest import PHONE, in_colors, photograph, tab, upload
from ui.compare.measure_view import signed, value
from ui.shared.formatting import run_label


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    settings = "training.max_steps=3", "training.eval_steps=0", "training.sample_prompts=[]"
    with running_app_with_a_run(tmp_path_factory.mktemp("measure"), *settings) as app:
        yield app


@pytest.fixture
def measure_page(page, run):
    tab(page, "Compare")
    tab(page, "Measure")
    expect(page.locator("#measure-run input")).to_have_value(run_label(run.id, run.name), timeout=30_000)
    expect(page.locator("#measure")).to_be_enabled(timeout=60_000)
    return page


def saved_files(run) -> list[str]:
    return sorted(path.name for path in (run.folder / "evaluations").glob("*"))


def test_1_six_rows_are_measured_and_the_table_matches_the_saved_file(measure_page, run):
    page = measure_page
    page.set_viewport_size(PHONE)
    in_colors(page, "dark")
    page.locator("#measure-most input").fill("6")
    page.click("#measure")
    expect(page.locator("#measure-result table tbody tr").first).to_be_visible(timeout=180_000)
    assert len(saved_files(run)) == 1
    (evaluation,) = load_evaluations(run.folder)
    assert (evaluation.rows, evaluation.run_id, evaluation.source.kind) == (6, run.id, "validation")
    shown = [row.locator("th, td").all_inner_texts() for row in page.locator("#measure-result table tbody tr").all()]
    assert len(shown) == len(evaluation.measures) >= 6
    for cells, one in zip(shown, evaluation.measures, strict=True):
        metric = BY_KEY[one.key]
        between = f"{signed(one.low, metric)} to {signed(one.high, metric)}"
        figures = [value(one.base, metric), value(one.tuned, metric), signed(one.difference, metric)]
        assert cells == [metric.title, *figures, between, one.verdict]
    loss = evaluation.measure("loss")
    assert shown[0][1:3] == [f"{loss.base:.3f}", f"{loss.tuned:.3f}"] and loss.tuned < loss.base
    expect(page.locator("#measure-result")).to_contain_text(evaluation.forgetting.words)
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    photograph(page, "70-measured-phone-dark")
    page.get_by_text("What these measures mean").click()
    expect(page.locator("#measure-result")).to_contain_text("with fewer than about 20 rows it is too narrow.")
    photograph(page, "71-measures-explained-phone-dark")


def test_2_a_stopped_measurement_is_not_saved(measure_page, run, tmp_path):
    many = tmp_path / "many.jsonl"  # minutes of work, so that no machine finishes before Stop
    many.write_text(
        "".join(json.dumps({"instruction": f"Say {n}.", "output": f"{n} I say."}) + "\n" for n in range(9000))
    )
    page, before = measure_page, saved_files(run)
    page.get_by_label("a file of rows").check()
    upload(page, "#measure-file", many)
    page.locator("#measure-most input").fill("9000")
    page.click("#measure")
    expect(page.locator("#measure-progress")).to_contain_text(re.compile(r"\d+ of 9,000 rows"), timeout=120_000)
    page.click("#stop-measuring")
    expect(page.locator("#measure-progress .warning")).to_have_text("Stopped; nothing was saved.", timeout=60_000)
    assert saved_files(run) == before
    expect(page.locator("#measure")).to_be_enabled()
    expect(page.locator("#stop-measuring")).to_be_hidden()


def test_3_an_invalid_file_is_explained_in_one_sentence(measure_page, run, tmp_path):
    page, before = measure_page, saved_files(run)
    page.set_viewport_size(PHONE)
    in_colors(page, "dark")
    page.locator("#measure-kind label").first.click()  # which clears the file that was chosen before
    page.get_by_label("a file of rows").check()
    page.click("#measure")
    expect(page.locator("#measure-trouble .error")).to_have_text("Choose a file first.")
    bad = tmp_path / "bad.json"
    bad.write_text('[{"instruction": "Say red.", "output": ')
    upload(page, "#measure-file", bad)
    page.click("#measure")
    expect(page.locator("#measure-progress .error")).to_have_text(
        re.compile(r"^[^\n]*bad\.json[^\n]*\.$"), timeout=120_000
    )
    expect(page.locator("#measure-trouble .error")).to_have_count(0)
    assert saved_files(run) == before
    photograph(page, "72-measure-bad-file-phone-dark")


def test_4_the_chosen_run_stays_selected_when_a_run_is_added(app, measure_page, run):
    def add_copy(name: str):
        folder = run.folder.with_name(name)
        shutil.copytree(run.folder, folder)
        about = folder / "run.json"
        about.write_text(about.read_text(encoding="utf-8").replace(run.id, name), encoding="utf-8")
        open_run(folder).write_about(name=name.rpartition("-")[2], note="")
        return folder

    page = measure_page
    second, third = add_copy("29990101-000000-second"), "29990101-000001-third"
    page.locator("#measure-run input").click()
    expect(page.get_by_role("option", name=re.compile("^second"))).to_be_visible(timeout=30_000)
    page.get_by_role("option", name=re.compile("^second")).click()
    expect(page.locator("#measure-run input")).to_have_value(re.compile("^second"))
    add_copy(third)
    page.locator("#measure-kind label").first.click()  # move the focus away so that the list opens again
    page.locator("#measure-run input").click()
    expect(page.get_by_role("option", name=re.compile("^third"))).to_be_visible(timeout=30_000)
    page.keyboard.press("Escape")
    page.locator("#measure-kind label").first.click()  # only a list without the focus shows the actual value
    expect(page.locator("#measure-run input")).to_have_value(re.compile("^second"))
    shutil.rmtree(second)
    expect(page.locator("#measure-run input")).not_to_have_value(re.compile("^second"), timeout=30_000)
    shutil.rmtree(run.folder.with_name(third))


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
