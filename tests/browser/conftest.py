"""Fixtures for tests in a real Chromium. Without Chromium these tests are skipped; in CI they fail instead."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from core.runs.run_folder import list_runs

SCREENSHOTS = Path(__file__).parent / "screenshots"
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
LOADED = "#tabs [role=tab]"
TO_OPEN = 120_000  # milliseconds: Playwright's own thirty seconds are too few on a busy machine
ZOOMED = {"width": 720, "height": 450}  # a desktop's window at 200%
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    headed = os.environ.get("HEARTHTUNE_TEST_HEADED") == "1"
    # The shell has no user interface of its own, which saves a good part of the time.
    path = (None if headed else shutil.which("chromium-headless-shell")) or shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed; in CI the browser tests must run")
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    expect.set_options(timeout=30_000)  # the default of five seconds is too short on a busy machine
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, headless=not headed)
        yield browser
        browser.close()


@pytest.fixture
def run(app):
    """The only run of the module's own `app`."""
    (run,) = list_runs(app.runs_dir)
    return run


@pytest.fixture
def open_page(chromium):
    """Open pages in a given size. They are closed afterwards, and none may have logged an error to its console.

    Use `reload` and `close` below for these pages, not Playwright's own.
    """
    with opening(chromium) as open_it:
        yield open_it


@pytest.fixture(scope="module")
def page_of_the_file(app, chromium):
    with opening(chromium) as open_it:
        yield open_it(app.url)


@pytest.fixture
def page(page_of_the_file):
    """One page of the module's own `app` for all tests of the file: to open one takes three seconds of CPU time.

    What a test leaves on it is there for the next one, but each starts in a desktop's size and light colors.
    """
    page = page_of_the_file
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    yield page
    errors, page.logged_errors[:] = list(page.logged_errors), []
    assert errors == []


@contextmanager
def opening(chromium):
    pages = []

    def open_it(url: str, size: dict = DESKTOP, script: str = ""):
        page = chromium.new_page(viewport=size)
        if script:
            page.add_init_script(script)
        pages.append(page)
        page.logged_errors = []
        page.on("pageerror", lambda error: page.logged_errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and page.logged_errors.append(message.text))
        page.goto(url, timeout=TO_OPEN)
        page.wait_for_selector(LOADED, timeout=TO_OPEN)
        return page

    try:
        yield open_it
    finally:
        for page in pages:
            close(page)
    assert [error for page in pages for error in page.logged_errors] == []


@contextmanager
def _leaving(page):
    """Forget what a page logs while it is left: Gradio's client then aborts its requests, and logs each as an error."""
    before = list(page.logged_errors)
    yield
    page.logged_errors[:] = before


def reload(page, forget: bool = False) -> None:
    """With `forget`, without what was entered before."""
    if forget:
        page.evaluate("delete window.keepEntered, delete window.keepsChat, localStorage.clear()")
    with _leaving(page):
        page.reload(wait_until="commit", timeout=TO_OPEN)
    page.wait_for_selector(LOADED, timeout=TO_OPEN)


def close(page) -> None:
    with _leaving(page):
        page.close()


@contextmanager
def held(page, action: str):
    """Lets the requests of an action go at the end, once there is one."""
    number = page.evaluate(f"gradio_config.dependencies.find(each => each.api_name === {action!r}).id")
    kept = []

    def asks(request) -> bool:
        is_action = request.url.partition("?")[0].endswith(("/run/predict", "/queue/join"))
        return is_action and request.post_data_json["fn_index"] == number

    page.route("**/gradio_api/**", lambda route: kept.append(route) if asks(route.request) else route.continue_())
    with page.expect_request(asks):
        yield
    for route in kept:
        route.continue_()
    page.unroute("**/gradio_api/**")


def in_colors(page, theme: str) -> None:
    """Show an open page in "light" or "dark" colors, as a system does that changes them in the evening."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_selector("body.dark" if theme == "dark" else "body:not(.dark)")


def tab(page, name: str) -> None:
    _open(page, page.get_by_role("tab", name=name, exact=True))


def unfold(page, head) -> None:
    """Open an accordion."""
    _open(page, head)


def _open(page, head) -> None:
    """When a tab or accordion is first opened, Gradio makes its parts and, some frames later, gives them their values
    over what was typed: wait until the page has not changed for ten frames."""
    head.click()
    page.evaluate(
        """new Promise(done => {
            let still = 0, frames = 0;
            const observer = new MutationObserver(() => { still = 0; });
            observer.observe(document.body, {childList: true, subtree: true, attributes: true});
            const look = () => {
                if (++still > 10 || ++frames > 200) {
                    observer.disconnect();
                    setTimeout(done);
                } else requestAnimationFrame(look);
            };
            look();
        })"""
    )


def open_settings(page) -> None:
    """Unfold the form of the Train tab, which a run has folded."""
    page.locator("#run-line [data-form=open]:visible").click()
    page.locator("#train-form").wait_for()


@contextmanager
def followed(page, field: str, value):
    """Waits at the end until the page has been told what follows from a setting that was changed to this value.

    That answer takes away what the page says of an earlier setting, and of this one if a button was pressed before it.
    """
    number, place = page.evaluate(
        """field => {
            const {id, inputs} = gradio_config.dependencies.find(each => each.api_name === 'errors_now');
            return [id, inputs.indexOf(gradio_config.components.find(each => each.props.elem_id === field).id)];
        }""",
        field,
    )
    assert place >= 0

    def answers(response) -> bool:
        request = response.request
        if not request.url.partition("?")[0].endswith("/run/predict"):
            return False
        return request.post_data_json["fn_index"] == number and request.post_data_json["data"][place] == value

    with page.expect_response(answers, timeout=30_000):
        yield


def pick(page, place: str, label: str) -> None:
    """Choose what the left, right or third pane of the chat asks."""
    picker = page.locator(f"#pane-{place} input")
    picker.click()
    page.get_by_role("option", name=label, exact=True).click()
    expect(picker).to_have_value(label)
    expect(page.get_by_role("option")).to_have_count(0)  # the list fades out and could overlap the next one


def upload(page, place: str, *files) -> None:
    """Choose *files* in the upload field *place*, and wait until the server has them.

    The field shows a file's name while it is still being sent; the link to it comes with the file.
    """
    page.locator(f"{place} input[type=file]").set_input_files(list(files))
    expect(page.locator(f"{place} a[href*='/file=']")).to_have_count(len(files), timeout=30_000)


def photograph(page, name: str, full_page: bool = True) -> None:
    """Save a screenshot for people to look at.

    It is of the whole page by default. That can take for ever while the page grows: then take what is in view.
    """
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full_page)


def painted_over(page, bar: str) -> list[str]:
    """What lies on top of a bar that stays in view, wherever the page is scrolled."""
    return page.evaluate(
        """selector => {
            const bar = document.querySelector(selector), found = new Set();
            for (let top = 0; top < document.documentElement.scrollHeight; top += 90) {
                window.scrollTo({top, behavior: 'instant'});
                const box = bar.getBoundingClientRect();
                const last = Math.min(box.bottom, window.innerHeight);
                for (let y = Math.max(box.top, 0) + 2; y < last - 2; y += 6)
                    for (let x = box.left + 2; x < box.right - 2; x += 12) {
                        const hit = document.elementFromPoint(x, y);
                        if (hit && !bar.contains(hit)) found.add(`${hit.tagName} ${hit.textContent.slice(0, 40)}`);
                    }
            }
            window.scrollTo({top: 0, behavior: 'instant'});
            return [...found];
        }""",
        bar,
    )


def wait_for_step(page, least: int) -> None:
    page.wait_for_function(
        """least => {
            const found = (document.querySelector('#side-run')?.innerText || '').match(/step ([\\d,]+) of/);
            return found && +found[1].replaceAll(',', '') >= least;
        }""",
        arg=least,
        timeout=120_000,
    )
