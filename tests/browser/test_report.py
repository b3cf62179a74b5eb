"""A run's report in a real browser that has no network: it opens whole, asks for nothing and says nothing."""

import pytest
from playwright.sync_api import expect

from core.settings.run_config import RunConfig
from tests.browser.conftest import DESKTOP, PHONE, SCREENSHOTS
from tests.ui.test_report import HOSTILE, a_run
from ui.report.report import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    config = RunConfig().with_settings(["adapter.r=32", "training.sample_prompts=[A, B]"])
    runs_dir = tmp_path_factory.mktemp("report") / "runs"
    return write_report(a_run(runs_dir, votes=25, text=HOSTILE, name=HOSTILE, config=config))


@pytest.fixture
def opened(chromium, report):
    """Opens the file without a network; nothing may be asked for but the file itself, nor said in the console."""
    contexts, heard, asked = [], [], []

    def open_it(size: dict = DESKTOP, scheme: str = "light"):
        contexts.append(chromium.new_context(viewport=size, color_scheme=scheme, offline=True))
        page = contexts[-1].new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert heard == [] and set(asked) == {report.as_uri()}


def photograph(page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def test_it_opens_whole_without_a_network(opened):
    page = opened()
    expect(page.locator("h1")).to_contain_text("<script>alert(1)</script>")
    assert page.locator("figure.chart svg").count() == 4
    assert page.locator("polyline").first.bounding_box()["width"] > 200
    stroke = page.locator("polyline").first.evaluate("line => getComputedStyle(line).stroke")
    assert stroke == "rgb(13, 148, 136)"  # its style came with it
    expect(page.locator(".votes .sides").last).to_be_hidden()
    page.get_by_text("25 votes, to read").click()
    expect(page.locator(".votes .sides").last).to_be_visible()
    photograph(page, "report")


def test_a_script_that_came_in_would_not_run(chromium, report, tmp_path):
    broken_into = tmp_path / "report.html"
    ours = report.read_text(encoding="utf-8")
    broken_into.write_text(ours.replace("</main>", "</main><script>document.title = 'ran'</script>"), encoding="utf-8")
    refused = []
    page = chromium.new_page()
    page.on("console", lambda message: refused.append(message.text))
    page.goto(broken_into.as_uri())
    assert page.title() != "ran" and len(refused) == 1 and "Content Security Policy" in refused[0]
    page.close()


def test_it_can_be_read_on_a_phone(opened):
    page = opened(PHONE)
    for part in page.locator("details").all():
        part.evaluate("part => part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    photograph(page, "report-phone")


def test_it_is_dark_where_the_reader_is(opened):
    def brightness(page) -> float:
        found = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in found.removeprefix("rgb(").removesuffix(")").split(",")) / 3

    assert brightness(opened()) == 255
    page = opened(scheme="dark")
    assert brightness(page) < 40
    photograph(page, "report-dark")


def test_on_paper_what_is_folded_is_open(opened, tmp_path):
    page = opened()
    folded = page.locator(".votes .side").last
    expect(folded).to_be_hidden()
    page.emulate_media(media="print")
    assert folded.evaluate("side => side.checkVisibility({contentVisibilityAuto: true})")
    assert len(page.pdf(path=tmp_path / "report.pdf")) > 20_000
