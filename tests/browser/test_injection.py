"""HTML, scripts and templates in any outside text that the page shows are displayed as plain text."""

import json
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from core.runs.events import FINAL
from core.runs.run_folder import list_runs
from tests.app_process import running_app
from tests.browser.conftest import photograph, tab, unfold, upload

TAG = "<img src=x onerror=window.pwned=1>"
EVIL = (
    f"{TAG}<script>window.pwned=2</script>${{window.pwned=3}}{{{{window.pwned=4}}}}"
    "\" onmouseover=\"window.pwned=5' onfocus='window.pwned=6"
)
TOKEN = "hf_TheMarkedHeronNests4711"


def payload(name: str) -> str:
    """The hostile text, labelled so that a test can see where it was shown."""
    return f"{name}-{EVIL}"


@pytest.fixture(scope="module")
def app(tmp_path_factory, wait_until):
    """A page with a finished run that has hostile text in its name, note, rows, columns, template and samples."""
    folder = tmp_path_factory.mktemp("injection")
    rows = folder / f"{TAG}.jsonl"
    row = {payload("column"): payload("value"), "instruction": payload("question"), "output": payload("answer")}
    rows.write_text("".join(json.dumps(row | {"n": n}) + "\n" for n in range(12)))
    preset = folder / f"{TAG}.yaml"
    preset.write_text(json.dumps({
        "title": payload("title"), "description": payload("about"),
        "model": {"model_name": "presets/demo-llama", "max_seq_length": 512, "load_in_4bit": False},
        "data": {"path": str(rows), "prompt_template": f"template-{TAG} {{instruction}}", "validation_share": 0.2},
        "training": {"max_steps": 2, "eval_steps": 1, "sample_prompts": [payload("sample")]},
    }))  # fmt: skip
    with running_app(folder) as app:
        client = Client(app.url, verbose=False)
        client.predict(str(preset), [], "", api_name="/start")
        wait_until(lambda: client.predict(api_name="/snapshot")["run"]["status"] in FINAL, "the run's end", 120)
        run = client.predict(api_name="/snapshot")["run"]
        assert run["status"] == "completed", run["message"]
        assert run["name"] == f"Demo Llama · {TAG}.jsonl · 2 steps"
        (saved_run,) = list_runs(app.runs_dir)
        saved_run.write_about(name=payload("name"), note=payload("note"))
        yield app


def assert_harmless(page) -> None:
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x], [onerror], [onmouseover], [onfocus]").count() == 0
    scripts = page.evaluate("[...document.querySelectorAll('#frame script')].map(s => s.textContent).join()")
    assert "pwned" not in scripts


def test_the_sidebar_and_the_train_tab(page):
    expect(page.locator("#side-run")).to_contain_text(TAG, timeout=30_000)
    tab(page, "Train")
    expect(page.locator("#samples")).to_contain_text(payload("sample"), timeout=30_000)
    assert_harmless(page)
    photograph(page, "90-injection-train")


def test_rows_columns_and_templates(app, page):
    tab(page, "Data")
    (rows,) = app.runs_dir.parent.glob("*.jsonl")
    page.locator("#data-path textarea").fill(str(rows))
    page.locator("#data-path textarea").blur()
    expect(page.locator("#data-about")).to_contain_text(payload("column")[:40], timeout=30_000)
    expect(page.locator("#row-view")).to_contain_text("question-", timeout=30_000)
    upload(page, "#upload", rows)
    expect(page.locator("#upload")).to_contain_text("img src=x")
    unfold(page, page.get_by_text("Columns and prompt"))
    page.locator("#data-answer_column input").click()
    expect(page.get_by_role("option", name="column-").first).to_be_visible()
    page.keyboard.press("Escape")
    page.click("#check-rows")
    expect(page.locator("#survey")).to_contain_text("rows", timeout=60_000)
    assert_harmless(page)
    photograph(page, "91-injection-data")


def test_a_model_name_in_an_error_and_no_token_in_the_browser(app, page):
    tab(page, "Model")
    page.locator("#model-model_name input").fill(payload("model"))
    page.locator("#model-model_name input").press("Enter")
    unfold(page, page.get_by_text("More: token"))
    page.locator("#token input").fill(TOKEN)
    page.locator("#model-trust_remote_code textarea, #model-trust_remote_code input").first.fill(payload("model"))
    expect(page.locator("#code-warning")).to_contain_text(
        f"Code of {payload('model')} runs on this machine", timeout=30_000
    )
    page.click("#load")
    expect(page.locator("#model-trouble .error")).to_contain_text("model-<img src=x", timeout=60_000)
    assert_harmless(page)
    photograph(page, "92-injection-model")
    stored = page.evaluate(
        "async () => JSON.stringify("
        "[{...localStorage}, {...sessionStorage}, document.cookie, await indexedDB.databases()])"
    )
    assert TOKEN not in stored and json.loads(stored)[3] == []
    assert TOKEN not in page.content()
    assert TOKEN not in app.printed()


def test_model_answers(page):
    tab(page, "Compare")
    page.locator("#prompt textarea").fill(TAG)
    page.click("#ask")
    expect(page.locator("#proof")).to_contain_text("differ", timeout=120_000)
    assert_harmless(page)
    photograph(page, "93-injection-compare")


def test_markdown_of_a_model_is_harmless(page):
    """A tiny model cannot be made to answer with this, so the pane gets such an answer directly, as Gradio shows it."""
    from core.answering.sampling import Answer, Sampling
    from core.comparing.conversation import Conversation
    from core.runs.adapter_ref import BASE
    from ui.compare.chat_view import newest_text

    image = "![seen](https://evil.example/pixel.png)"
    answer = f"**bold** {image} [click](javascript:window.pwned=7) {EVIL}\n\n{TAG}\n\n```html\n{EVIL}\n```"
    conversation = Conversation((BASE, BASE)).asked("?", "", Sampling())
    html = newest_text(conversation.answered((Answer(answer, 1), Answer(answer, 1, ended="itself"))))
    assert "<img" not in html and "<script" not in html and html.count("<strong>") == 1
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.locator("#panes .prose").evaluate("(place, html) => { place.innerHTML = html; }", html)
    expect(page.locator("#panes .written strong")).to_have_text("bold")
    expect(page.locator("#panes .written pre")).to_contain_text(TAG)
    assert page.locator("#panes .answer :is(img, iframe, [style])").count() == 0
    link = page.locator("#panes a")
    assert link.all_inner_texts() == ["seen"] and link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert_harmless(page)
    assert [url for url in requested if "evil.example" in url] == []
    assert page.locator("[data-copy]").get_attribute("data-copy") == answer
    photograph(page, "93-injection-markdown")


def test_the_runs_tab(app, page):
    tab(page, "Runs")
    expect(page.locator("#runs-table")).to_contain_text(payload("name"), timeout=30_000)
    expect(page.locator("#runs-table")).to_contain_text("note-<img src=x")
    page.locator("#runs-table tbody tr").first.get_by_text("name-").first.click()
    expect(page.locator("#run-name input, #run-name textarea").first).to_have_value(payload("name"), timeout=30_000)
    expect(page.locator("#run-samples")).to_contain_text(payload("sample"))
    assert_harmless(page)
    photograph(page, "94-injection-runs")
    page.click("#run-delete")
    expect(page.locator("#run-trouble")).to_contain_text(payload("name"), timeout=30_000)
    assert_harmless(page)
    page.locator("#run-trouble [data-ask=delete]").click()
    expect(page.locator("#runs-said")).to_contain_text("name-<img", timeout=30_000)
    page.get_by_role("button", name="Trash").click()
    expect(page.locator("#deleted")).to_contain_text("name-<img", timeout=30_000)
    assert_harmless(page)
    assert list(Path(app.runs_dir, "trash").iterdir())
