"""The page as a desktop app: in a window of its own in a real Chromium, which could also install it."""

import json
import os
import re
import shutil
import signal
import socket
import time

import httpx
import pytest
from gradio_client import Client

from tests.app_process import ENVIRONMENT, App, start
from tests.browser.conftest import FLAGS, LOADED, photograph
from ui.desktop.window import START_SECONDS

SIZES = {"icon-192.png": 192, "icon-512.png": 512, "maskable-512.png": 512, "favicon.svg": None}
# An icon's size, the opacity of its corner, and how much its pixels differ from the drawing's on average (0 to 255),
# corners left out.
READ_ICON = """async ([source, drawing]) => {
    const pixels = async source => {
        const image = new Image();
        image.src = source;
        await image.decode();
        const context = new OffscreenCanvas(512, 512).getContext("2d");
        context.drawImage(image, 0, 0, 512, 512);
        const [corner, inside] = [context.getImageData(0, 0, 1, 1), context.getImageData(80, 80, 352, 352)];
        return {image, corner: corner.data[3], inside: inside.data};
    };
    const [icon, drawn] = [await pixels(source), await pixels(drawing)];
    const differences = icon.inside.map((value, index) => Math.abs(value - drawn.inside[index]));
    const difference = differences.reduce((sum, value) => sum + value, 0) / differences.length;
    return {size: [icon.image.naturalWidth, icon.image.naturalHeight], corner: icon.corner, difference};
}"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_in_window(folder, browser: str):
    """The program with `--window`, which finds a browser of the name google-chrome: a script with this last line."""
    command = folder / "bin" / "google-chrome"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{browser}\n")
    command.chmod(0o755)
    port, path = free_port(), f"{command.parent}{os.pathsep}{ENVIRONMENT['PATH']}"
    arguments = ["--window", "--port", str(port), "--runs-dir", str(folder / "runs")]
    return App(f"http://127.0.0.1:{port}", folder / "runs", start(*arguments, environment={"PATH": path}))


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The program, with a window in a whole Chromium: the shell of the other tests has no apps."""
    real = shutil.which("chromium")
    if real is None:
        pytest.skip("Chromium is not installed, or only its shell")
    flags = " ".join([*FLAGS, "--headless=new", "--remote-debugging-port=0"])
    app = start_in_window(tmp_path_factory.mktemp("window"), f'exec "{real}" {flags} "$@"')
    yield app
    app.process.send_signal(signal.SIGTERM)
    app.process.wait(60)


@pytest.fixture(scope="module")
def browser(app, chromium, wait_until):
    """The Chromium that shows the window."""
    port = app.runs_dir / "window" / "browser" / "DevToolsActivePort"
    wait_until(lambda: port.exists() and port.read_text().strip(), "a window", 120)
    browser = chromium.browser_type.connect_over_cdp(f"http://127.0.0.1:{port.read_text().split()[0]}")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(browser):
    (page,) = browser.contexts[0].pages
    page.wait_for_selector(LOADED, timeout=120_000)
    return page


def test_1_the_page_is_in_a_window_without_bars(app, page):
    assert page.url == f"{app.url}/"
    assert page.evaluate("matchMedia('(display-mode: standalone)').matches")
    photograph(page, "desktop-window")


def test_2_a_browser_can_install_it(app, page):
    devtools = page.context.new_cdp_session(page)
    found = devtools.send("Page.getAppManifest")
    assert (found["url"], found["errors"]) == (f"{app.url}/manifest.json", [])
    assert devtools.send("Page.getInstallabilityErrors") == {"installabilityErrors": []}
    manifest = json.loads(found["data"])
    assert (manifest["name"], manifest["display"]) == ("HearthTune", "standalone")
    assert [icon["purpose"] for icon in manifest["icons"]] == ["any", "any", "maskable", "any"]
    for icon in manifest["icons"]:
        name = icon["src"].removeprefix("icons/")
        read = page.evaluate(READ_ICON, [f"{app.url}/{icon['src']}", f"{app.url}/favicon.ico"])
        if SIZES[name] is not None:
            assert icon["sizes"] == f"{SIZES[name]}x{SIZES[name]}" and read["size"] == [SIZES[name]] * 2
        assert read["difference"] < 4, f"{name} is not made from this drawing: `python -m ui.icons.render`"
        assert (read["corner"] == 255) == (icon["purpose"] == "maskable"), "the system cuts its own corners"


def test_3_closing_it_during_a_run_ends_neither(app, page, browser, wait_until):
    client = Client(app.url, verbose=False)
    client.predict("demo-yoda", ["training.max_steps=5000"], api_name="/start")
    port = app.runs_dir / "window" / "browser" / "DevToolsActivePort"
    wait_until(lambda: time.time() - port.stat().st_mtime > START_SECONDS, "a window that has not failed")
    browser.new_browser_cdp_session().send("Browser.close")
    said = (
        f"The window is closed, but a run is in progress: HearthTune ends after that; until then its page is at "
        f"{app.url}/ (Ctrl-C ends it now).\n"
    )
    wait_until(lambda: said in app.printed(), "the line in the terminal", 60)
    assert app.process.poll() is None and httpx.get(app.url, timeout=60).status_code == 200


def test_closing_it_ends_a_program_that_does_nothing(tmp_path, wait_until):
    """A program in the browser's place, which ends after fifteen seconds: a window that is closed."""
    app = start_in_window(tmp_path, "exec sleep 15")
    try:
        assert app.process.wait(120) == 0, app.printed()
    finally:
        app.process.kill()
    assert "The window is closed" not in app.printed() and "Traceback" not in app.printed()
    assert re.search(rf"{app.url}", app.printed()), "it has been served"
