"""A run's report in a real browser without network: it is complete, requests nothing and logs nothing."""

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
def open_report(chromium, report):
    """Open the file without network. It may request no other file and log nothing to the console."""
    contexts, logged, requested = [], [], []

    def open_it(size: dict = DESKTOP):
        contexts.append(chromium.new_context(viewport=size, offline=True))
        page = contexts[-1].new_page()
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.on("dialog", lambda dialog: logged.append(dialog.message))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert logged == [] and set(requested) == {report.as_uri()}


def photograph(page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def test_it_is_complete_without_network(open_report):
    page = open_report()
    expect(page.locator("h1")).to_contain_text("<script>alert(1)</script>")
    assert page.locator("figure.chart svg").count() == 4
    assert page.locator("polyline").first.bounding_box()["width"] > 200
    stroke = page.locator("polyline").first.evaluate("line => getComputedStyle(line).stroke")
    assert stroke == "rgb(13, 148, 136)"  # its style is embedded
    expect(page.locator(".votes .sides").last).to_be_hidden()
    page.get_by_text("25 votes, to read").click()
    expect(page.locator(".votes .sides").last).to_be_visible()
    photograph(page, "report")


def test_an_injected_script_does_not_run(chromium, report, tmp_path):
    tampered = tmp_path / "report.html"
    html = report.read_text(encoding="utf-8")
    tampered.write_text(html.replace("</main>", "</main><script>document.title = 'ran'</script>"), encoding="utf-8")
    logged = []
    with chromium.new_context() as context:
        page = context.new_page()
        page.on("console", lambda message: logged.append(message.text))
        page.goto(tampered.as_uri())
        assert page.title() != "ran" and len(logged) == 1 and "Content Security Policy" in logged[0]


def test_it_fits_on_a_phone(open_report):
    page = open_report(PHONE)
    for part in page.locator("details").all():
        part.evaluate("part => part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    photograph(page, "report-phone")


def test_it_follows_the_dark_color_scheme(open_report):
    def brightness(page) -> float:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(",")) / 3

    page = open_report()
    assert brightness(page) == 255
    page.emulate_media(color_scheme="dark")
    assert brightness(page) < 40
    photograph(page, "report-dark")


def test_collapsed_parts_are_open_in_print(open_report, tmp_path):
    page = open_report()
    collapsed = page.locator(".votes .side").last
    expect(collapsed).to_be_hidden()
    page.emulate_media(media="print")
    assert collapsed.evaluate("side => side.checkVisibility({contentVisibilityAuto: true})")
    assert len(page.pdf(path=tmp_path / "report.pdf")) > 20_000
