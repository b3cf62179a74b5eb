"""The Export tab in a real browser: from a run to files that are on the disk and in the browser's downloads."""

import hashlib
import re
import zipfile

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from core.export.record import load_exports
from core.runs.run_folder import list_runs
from tests.app_process import run_app, running_app
from tests.browser.conftest import PHONE, in_colors, photograph, reload, tab
from tests.hub_uploads import UploadHub

TOKEN = "hf_TheMarkedHeronMayWrite"
TOO_LONG = 300_000  # ms; a tested export loads two models


@pytest.fixture(scope="module")
def hub():
    with UploadHub(token=TOKEN) as hub:
        yield hub


@pytest.fixture(scope="module")
def app(hub, tmp_path_factory):
    """One trained run with a checkpoint, on a machine that is logged in to a hub of the test's own."""
    folder = tmp_path_factory.mktemp("export")
    settings = ["training.max_steps=6", "training.save_steps=3", "data.validation_share=0.02"]
    done = run_app(
        "train", "demo-yoda", "--runs-dir", str(folder / "runs"), *(f"--set={setting}" for setting in settings)
    )
    assert done.returncode == 0, done.stderr
    with running_app(folder, environment=hub.environment(folder / "home", TOKEN)) as app:
        yield app


@pytest.fixture(scope="module")
def run(app):
    (run,) = list_runs(app.runs_dir)
    return run


def test_1_the_runs_tab_leads_here_and_the_checkpoint_s_adapter_is_exported(app, page, run):
    tab(page, "Runs")
    page.locator("#runs-table tbody th button").first.click()
    checkpoint = page.locator("#run-kept tbody tr", has_text="checkpoint at step 3")
    checkpoint.get_by_role("button", name="Take it home").click()
    expect(page.get_by_role("tab", name="Export", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#export-adapter-choice input")).to_have_value("checkpoint at step 3")
    expect(page.locator("#about-adapter")).to_contain_text(re.compile(r"about [\d.]+ MB \(\d+ GB free\)"))
    photograph(page, "90-export")
    page.click("#export-adapter")
    expect(page.locator("#exports .export h3")).to_contain_text("checkpoint at step 3", timeout=TOO_LONG)
    expect(page.locator("#exports .notice.good")).to_have_text("Self-test passed.")
    expect(page.locator("#exports .checks tbody td").last).to_have_text("passed")
    (made,) = load_exports(run)
    assert (made.wanted.to, made.step, made.passed) == ("adapter", 3, True)
    photograph(page, "91-exported")


def test_2_files_arrive_in_the_browser(page, run, tmp_path):
    (made,) = load_exports(run)
    weights = page.locator("#exports .files tr", has_text="adapter_model.safetensors")
    with page.expect_download() as one:
        weights.get_by_role("link", name="Download").click()
    sha256 = {file.path.name: file.sha256 for file in made.files}
    assert hashlib.sha256(one.value.path().read_bytes()).hexdigest() == sha256["adapter_model.safetensors"]
    with page.expect_download() as every:
        page.get_by_role("link", name="Download all").click()
    with zipfile.ZipFile(every.value.path()) as archive:
        assert {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()} == sha256


def test_3_a_push_is_stopped_in_the_middle_and_taken_up_again(page, run, hub, wait_until):
    hub.stall_after = 1 << 16
    page.locator("#push-name input, #push-name textarea").fill("ada/yoda")
    expect(page.locator("#export-push")).to_be_enabled()
    page.click("#export-push")
    expect(page.locator("#export-progress")).to_contain_text("Uploading to ada/yoda", timeout=TOO_LONG)
    wait_until(hub.stalled.is_set, "half of the weights", timeout=120)  # the page speaks of it before the first byte
    page.set_viewport_size(PHONE)
    photograph(page, "92-pushing-phone")
    page.click("#stop-export")
    expect(page.locator("#export-progress .warning")).to_have_text("Stopped; nothing was pushed.", timeout=60_000)
    assert hub.repositories["ada/yoda"].messages == []
    hub.stall_after = None
    expect(page.locator("#export-push")).to_be_enabled()
    page.click("#export-push")
    expect(page.locator("#export-progress .good")).to_contain_text(
        f"Pushed to {hub.address}/ada/yoda, which only you can see.", timeout=TOO_LONG
    )
    (made,) = load_exports(run)  # the one that passed its test is pushed as it is
    stored = hub.repositories["ada/yoda"]
    assert (stored.is_private, stored.branches["main"]) == (True, {file.path.name: file.sha256 for file in made.files})


def test_4_an_error_is_one_sentence_and_what_is_there_stays_after_a_reload(page, run):
    page.set_viewport_size(PHONE)
    in_colors(page, "dark")
    page.locator("#export-form input").click()
    page.get_by_role("option", name="LoRA alone").click()
    expect(page.locator("#export-gguf")).to_be_enabled()
    page.click("#export-gguf")  # the demo's preset trains embeddings, for which GGUF has no LoRA
    expect(page.locator("#export-progress .error")).to_have_text(
        re.compile(r"^Demo Llama[^\n]*embed_tokens[^\n]*\.$"), timeout=TOO_LONG
    )
    photograph(page, "93-export-refused-phone-dark")
    reload(page)
    tab(page, "Export")
    expect(page.locator("#exports .export h3")).to_have_count(1, timeout=30_000)
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


def test_5_the_script_comes_with_its_commands(page, run):
    page.click("#export-script")
    script = page.locator("#exports .export", has_text="train.py")
    expect(script).to_contain_text("hf jobs uv run --flavor t4-small", timeout=TOO_LONG)
    folder = run.folder.resolve() / "exports" / "script"
    expect(script.locator(".command code").first).to_have_text(f"uv run {folder / 'train.py'}")
    assert (folder / "rows.parquet").is_file()
    photograph(page, "94-script")


def test_6_a_client_pushes_the_same(app, run, hub):
    pushed = Client(app.url, verbose=False).predict(run.id, "ada/by-client", checkpoint=3, api_name="/push")
    stored = hub.repositories["ada/by-client"]
    (made,) = load_exports(run)
    assert (pushed["repo"], pushed["url"]) == ("ada/by-client", f"{hub.address}/ada/by-client")
    assert pushed["private"] is stored.is_private is True
    assert stored.branches["main"] == {file.path.name: file.sha256 for file in made.files}


def test_the_app_printed_no_warnings_of_its_own(app):
    assert app.own_warnings() == []
