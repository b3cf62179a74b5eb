"""The Data tab with all kinds of files: preview, columns, left-out rows, the full check, stopping it, downloads."""

import csv
import json
import re

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from core.runs.run_folder import list_runs
from tests.app_process import running_app
from tests.browser.conftest import PHONE, in_colors, photograph, reload, tab, upload

FIRST_QUESTION = "Our daughter was busy."  # of the demo preset's rows


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("data")) as app:
        yield app


@pytest.fixture(scope="module")
def loaded(app):
    Client(app.url, verbose=False).predict(api_name="/load_model")
    return app


@pytest.fixture
def data_page(loaded, page):
    """The Data tab with the model loaded and the first row of the demo preset."""
    tab(page, "Data")
    choose(page, "presets/data/yoda.jsonl")
    page.locator("#row-number input").fill("1")
    page.locator("#row-number input").blur()
    expect(page.locator("figure.rendered")).to_contain_text(FIRST_QUESTION, timeout=60_000)
    return page


@pytest.fixture
def fresh_data_page(loaded, page):
    """The same, after a test that changed settings."""
    reload(page, forget=True)
    tab(page, "Data")
    expect(page.locator("figure.rendered")).to_contain_text(FIRST_QUESTION, timeout=60_000)
    return page


def choose(page, path) -> None:
    page.locator("#data-path textarea").fill(str(path))
    page.locator("#data-path textarea").blur()


def write_file(path, *rows: dict):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def pick(page, name: str, value: str) -> None:
    box = page.locator(f"#data-{name} input")
    box.click()
    # In the list of this box: the list of the previous one may still be closing.
    page.locator(f"#{box.get_attribute('aria-controls')}").get_by_role("option", name=value, exact=True).click()
    expect(box).to_have_value(value)


def check_all(page) -> None:
    expect(page.locator("#check-rows")).to_be_enabled(timeout=30_000)
    page.click("#check-rows")


def tokens(page, kind: str) -> str:
    """The text of the row's tokens of this kind."""
    return "".join(page.locator(f"figure.rendered i{kind}").all_inner_texts())


def test_1_rows_and_tokens_are_shown_before_a_model_is_loaded(page):
    tab(page, "Data")
    expect(page.locator("#data-about")).to_contain_text(
        'Looks like Alpaca rows: "instruction" is the question, "output" is the answer.', timeout=30_000
    )
    expect(page.locator("figure.rendered")).to_contain_text(FIRST_QUESTION, timeout=60_000)
    assert tokens(page, ".t").endswith("<|eot_id|>")
    expect(page.locator("#check-rows")).to_be_enabled()
    expect(page.locator("#side-model")).to_contain_text("none loaded")
    boxes = [cell.bounding_box()["width"] for cell in page.locator("#data-about th").all()]
    names = page.locator("#data-about th").all_inner_texts()
    assert names[boxes.index(max(boxes))].startswith("output")
    photograph(page, "30-data-no-model")


def test_2_several_files_are_uploaded_together(data_page, tmp_path):
    page = data_page
    first = write_file(tmp_path / "one.jsonl", {"instruction": "Say 가", "output": "가"})
    (tmp_path / "two.csv").write_text("instruction;output\nSay b;bee\nSay c;sea\n", encoding="utf-16")
    upload(page, "#upload", first, tmp_path / "two.csv")
    expect(page.locator("#data-path textarea")).to_have_value(
        re.compile(r"^one\.jsonl \(upload [0-9a-f]{8}\)\ntwo\.csv \(upload [0-9a-f]{8}\)$"), timeout=30_000
    )
    expect(page.locator("#data-about .notes")).to_contain_text("two.csv: read as UTF-16", timeout=30_000)
    expect(page.locator("figure.rendered")).to_contain_text("Say 가", timeout=30_000)
    page.click("#row-forth")
    page.click("#row-forth")
    expect(page.locator("figure.rendered figcaption")).to_contain_text("Row 3", timeout=30_000)
    assert "sea<|eot_id|>" in tokens(page, ".t")
    photograph(page, "31-data-two-files")
    page.get_by_label("Remove this file").first.click()
    expect(page.locator("#data-path textarea")).to_have_value(re.compile(r"^two\.csv \(upload [^\n]*$"), timeout=30_000)
    page.locator("#upload").get_by_label("Clear").click()
    expect(page.locator("#data-path textarea")).to_have_value("", timeout=30_000)
    expect(page.locator("#data-path .fault")).to_contain_text("name files, a folder or a dataset", timeout=30_000)


UNREADABLE = [
    (
        "bad.json",
        b'[{"instruction": "a"},\n{"instruction": }]',
        "bad.json is not valid JSON: Expecting value, at line 2",
    ),
    ("sheet.xlsx", b"PK\x03\x04" + bytes(40), "sheet.xlsx is an Excel file"),
    ("empty.csv", b"", "empty.csv is empty"),
    (
        "big.jsonl",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
        "big.jsonl is a git-lfs pointer",
    ),
]


def test_3_an_unreadable_file_shows_an_error_in_place_of_the_row(data_page, tmp_path):
    page = data_page
    for name, content, sentence in UNREADABLE:
        (tmp_path / name).write_bytes(content)
        choose(page, tmp_path / name)
        expect(page.locator("#data-trouble .error")).to_contain_text(sentence, timeout=30_000)
        expect(page.locator("figure.rendered")).to_have_count(0)
        photograph(page, f"32-data-refused-{name.partition('.')[0]}")
        choose(page, "presets/data/yoda.jsonl")
        expect(page.locator("figure.rendered")).to_be_visible(timeout=30_000)
        expect(page.locator("#data-trouble .error")).to_have_count(0)


def test_4_a_guess_is_confirmed_and_columns_are_chosen(data_page, tmp_path):
    page = data_page
    choose(
        page,
        write_file(tmp_path / "odd.jsonl", *({"alpha": f"ask {n}", "omega": f"an answer of {n}"} for n in range(5))),
    )
    expect(page.locator("#data-about .warning")).to_contain_text("Perhaps question and answer", timeout=30_000)
    expect(page.locator("#data-answer_column")).to_be_visible()
    photograph(page, "33-data-guess")
    page.click("#use-guess")
    expect(page.locator("#data-about .good")).to_contain_text(
        '"alpha" is the question, "omega" is the answer', timeout=30_000
    )
    expect(page.locator("#use-guess")).to_be_hidden()
    expect(page.locator("#data-answer_column input")).to_have_value("omega")
    assert tokens(page, ".t").endswith("an answer of 0<|eot_id|>")
    pick(page, "instruction_column", "omega")
    pick(page, "answer_column", "alpha")
    expect(page.locator("#data-about .good")).to_contain_text(
        '"omega" is the question, "alpha" is the answer', timeout=30_000
    )
    expect(page.locator("figure.rendered i.t").last).to_be_visible()
    assert tokens(page, ".t").endswith("ask 0<|eot_id|>")


def test_5_a_prompt_template_and_the_start_of_the_response(fresh_data_page, tmp_path):
    page = fresh_data_page
    choose(
        page, write_file(tmp_path / "price.jsonl", *({"item": f"a lamp {n}", "price": f"{n}9"} for n in range(1, 5)))
    )
    expect(page.locator("#mapping #prompt-kind")).to_be_visible(timeout=30_000)
    page.get_by_label("own text").check()
    box = page.locator("#data-prompt_template textarea")
    expect(box).to_be_visible()
    box.fill("How much is {item}?\n\nPrice is ${price}")
    box.blur()
    expect(page.locator("figure.rendered")).to_contain_text("How much is a lamp 1?", timeout=30_000)
    assert "How much is a lamp 1?" in tokens(page, ".t")
    marker = page.locator("#data-response_starts_after textarea, #data-response_starts_after input")
    marker.fill("Price is $")
    marker.blur()
    expect(page.locator("figure.rendered figcaption")).not_to_contain_text(
        re.compile(r"tokens, \d\d of them"), timeout=30_000
    )
    assert tokens(page, ".t") == "19<|eot_id|>"
    photograph(page, "34-data-own-prompt")
    box.fill("How much is {thing}?")
    box.blur()
    expect(page.locator("#data-about .error")).to_contain_text("{thing}", timeout=30_000)
    photograph(page, "35-data-prompt-wrong")
    page.get_by_label("Alpaca", exact=True).check()
    expect(box).to_be_hidden()


def test_6_left_out_rows_are_listed_downloaded_and_asked_about(fresh_data_page, loaded, tmp_path):
    page = fresh_data_page
    rows = [{"instruction": f"ask {n}", "output": f"answer {n}" if n % 3 else ""} for n in range(30)]
    path = write_file(tmp_path / "holes.jsonl", *rows)
    with path.open("a") as file:
        file.write('{"instruction": oops}\n')
    choose(page, path)
    check_all(page)
    expect(page.locator("#survey")).to_contain_text(
        "11 rows left out: no answer (10), not valid JSON (1; first: Expecting value, at column 17).", timeout=60_000
    )
    page.locator("#survey details summary").click()
    expect(page.locator("#survey details td").first).to_have_text("1")
    expect(page.locator("#survey details")).to_contain_text("line 31 of holes.jsonl")
    with page.expect_download() as download:
        page.click("#left-out-file")
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        listed = [int(row["row"]) for row in csv.DictReader(file)]
    assert listed == [n + 1 for n in range(30) if n % 3 == 0] + [31]
    photograph(page, "36-data-left-out")
    page.locator("#row-number input").fill("1")
    page.locator("#row-number input").blur()
    expect(page.locator("#row-view .warning")).to_contain_text("Row 1 is left out: no answer.", timeout=30_000)

    tab(page, "Train")
    page.locator("#training-max_steps input").fill("1")
    page.locator("#training-max_steps input").blur()
    page.click("#start")
    question = page.locator("#train-trouble .before-start")
    expect(question).to_contain_text("11 of 31 rows would be left out: no answer (10)", timeout=60_000)
    assert list_runs(loaded.runs_dir) == []
    photograph(page, "37-train-asks")
    question.get_by_role("button", name="Go to the data").click()
    expect(page.locator("#survey .warning").first).to_be_focused()
    tab(page, "Train")
    question.get_by_role("button", name="Start anyway").click()
    expect(page.locator("#train-state .good")).to_contain_text("Finished", timeout=120_000)
    expect(question).to_have_count(0)
    (run,) = list_runs(loaded.runs_dir)
    assert run.config().data.allow_left_out


def test_7_figures_for_the_whole_dataset(fresh_data_page):
    page = fresh_data_page
    check_all(page)
    facts = page.locator("#survey .facts")
    expect(facts).to_contain_text("720 read; 648 for training, 72 for validation", timeout=60_000)
    expect(facts).to_contain_text("41 steps of 16 rows")
    bars = page.locator("#survey rect.bars title").all_text_contents()
    assert sum(int(re.search(r": ([\d,]+) rows?$", bar)[1].replace(",", "")) for bar in bars) == 720
    photograph(page, "38-data-survey")
    reload(page)
    tab(page, "Data")
    expect(page.locator("#survey .facts")).to_contain_text("720 read", timeout=30_000)
    choose(page, "presets/data/nothing.csv")
    expect(page.locator("#data-trouble .error")).to_contain_text(
        "There is no file presets/data/nothing.csv", timeout=30_000
    )
    expect(facts).to_be_hidden()
    choose(page, "presets/data/yoda.jsonl")
    expect(facts).to_contain_text("720 read", timeout=30_000)
    expect(facts).to_be_visible()


def test_8_warnings_and_truncation(data_page, shared_data):
    page = data_page
    choose(page, shared_data / "alpaca/identity.json")
    check_all(page)
    expect(page.locator("#survey .warning").first).to_contain_text(
        "unfilled placeholder such as {{name}}", timeout=60_000
    )
    expect(page.locator("#fill-in label")).to_have_text(["{{name}}", "{{author}}"])
    photograph(page, "39-data-placeholders")
    page.get_by_label("{{name}}").fill("Ember")
    page.get_by_label("{{author}}").fill("Ada")
    page.get_by_label("{{author}}").press("Enter")
    expect(page.locator("figure.rendered")).to_contain_text("Ember", timeout=60_000)
    assert "Ember" in tokens(page, ".t") and "{{" not in tokens(page, ".t")
    expect(page.get_by_label("{{author}}")).to_have_value("Ada")
    choose(page, shared_data / "text/wiki_demo.txt")
    expect(page.locator("figure.rendered b.cut").first).to_contain_text(
        "cut here, at the length of 512", timeout=60_000
    )
    assert page.locator("figure.rendered i.t").count() == 512
    assert page.locator("figure.rendered i.x.t").count() == 0 < page.locator("figure.rendered i.x").count()
    expect(page.locator("#row-view .warning")).to_contain_text(
        "The end token <|eot_id|> is missing (it is beyond the cut)"
    )
    expect(page.locator("#check-trouble .warning")).to_contain_text("have not been checked with these settings")
    expect(page.locator("#survey .facts")).to_be_hidden()
    check_all(page)
    expect(page.locator("#survey .warning").first).to_contain_text("are cut at the end and lose", timeout=60_000)
    photograph(page, "39-data-cut")


def test_9_reading_is_shown_stopped_and_seen_by_a_second_page(data_page, loaded, open_page, tmp_path):
    page = data_page
    path = tmp_path / "many.jsonl"
    with path.open("w") as file:
        for n in range(150_000):
            file.write(json.dumps({"instruction": f"Say number {n}.", "output": f"number {n} " * 10}) + "\n")
    choose(page, path)
    expect(page.locator("figure.rendered")).to_contain_text("number 0", timeout=30_000)
    check_all(page)
    expect(page.locator("#survey")).to_contain_text(
        re.compile(r"Reading the rows: [1-9][\d,]+ so far \(\d+%\)"), timeout=60_000
    )
    photograph(page, "40-data-reading")
    second = open_page(f"{loaded.url}/?__theme=dark", PHONE)
    tab(second, "Data")
    expect(second.locator("#survey")).to_contain_text("Reading the rows", timeout=30_000)
    photograph(second, "41-data-reading-phone-dark")
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    second.click("#stop-reading")
    expect(page.locator("#check-trouble .warning")).to_contain_text(
        "Stopped before all rows were read.", timeout=30_000
    )
    expect(page.locator("#stop-reading")).to_be_hidden()


def test_on_a_phone(data_page, shared_data):
    page = data_page
    page.set_viewport_size(PHONE)
    choose(page, shared_data / "sharegpt/glaive_toolcall_en_demo.json")
    expect(page.locator("#data-about")).to_contain_text("ShareGPT conversations", timeout=30_000)
    expect(page.locator("#data-about .turns").first.locator("dt").first).to_have_text("human")
    check_all(page)
    expect(page.locator("#survey .facts")).to_be_visible(timeout=60_000)
    for theme in ("light", "dark"):
        in_colors(page, theme)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        photograph(page, f"42-data-phone-{theme}")


def test_gradios_own_words_are_in_the_pages_language_whatever_the_browsers_is(app, chromium):
    page = chromium.new_page(locale="ko-KR")
    page.goto(app.url)
    tab(page, "Data")
    expect(page.locator("#upload")).to_contain_text("Drop File Here")
    assert page.locator("html").get_attribute("lang") == "en"
    page.close()


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
