"""What the page costs a browser that opens it, and how much it moves when a run starts; see `bench.page`."""

import shutil
import statistics
import tempfile
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

from bench.common import free_port, median_ratio, page_command, report, served
from bench.startup import EMPTY

SETTLED_SECONDS = 2.0  # a page that has requested nothing new for that long is loaded
REPEATED = ("/live", "/heartbeat")  # a page asks for these as long as it is open
SHIFTS = """
window.shifts = 0;
new PerformanceObserver(list => list.getEntries().forEach(entry => { window.shifts += entry.value; }))
    .observe({type: "layout-shift", buffered: true});
"""


class Load(NamedTuple):
    """What opening a page took: bytes as transferred, with headers; requests to other hosts; the sum of all shifts."""

    requests: int
    bytes: int
    other_hosts: int
    layout_shift: float
    console_errors: int


class Visit:
    """A page in a fresh browser context, so with an empty cache."""

    def __init__(self, browser: Browser, url: str):
        self._host = urlsplit(url).netloc
        self._urls: dict[str, str] = {}  # by the request's id
        self._size, self._errors, self._last = 0, 0, time.monotonic()
        self.page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        self.page.add_init_script(SHIFTS)
        self.page.on("pageerror", self._note_error)
        self.page.on("console", lambda message: message.type == "error" and self._note_error())
        network = self.page.context.new_cdp_session(self.page)
        network.on("Network.requestWillBeSent", self._sent)
        network.on("Network.loadingFinished", self._received)
        network.send("Network.enable")
        self.page.goto(url)

    def _note_error(self, *_: object) -> None:
        self._errors += 1

    def _sent(self, event: dict) -> None:
        url = event["request"]["url"]
        if url.startswith("http") and not any(part in urlsplit(url).path for part in REPEATED):
            self._urls[event["requestId"]] = url
            self._last = time.monotonic()

    def _received(self, event: dict) -> None:
        if event["requestId"] in self._urls:
            self._size += event["encodedDataLength"]

    def loaded(self) -> Load:
        """Waits until the page is loaded."""
        while time.monotonic() - self._last < SETTLED_SECONDS:
            self.page.wait_for_timeout(100)  # in which Playwright reports what happens
        others = sum(urlsplit(url).netloc != self._host for url in self._urls.values())
        return Load(len(self._urls), self._size, others, self.shift(), self._errors)

    def shift(self) -> float:
        return self.page.evaluate("window.shifts")


def opened(browser: Browser, port: int, command: list[str]) -> tuple[float, Load]:
    """The seconds until the program that this command starts answers at `port`, and what its page takes to open."""
    began = time.monotonic()
    with served(command, port):
        seconds = time.monotonic() - began
        visit = Visit(browser, f"http://127.0.0.1:{port}")
        load = visit.loaded()
        visit.page.context.close()
    return seconds, load


def shift_of_a_run(browser: Browser, port: int, steps: int) -> float:
    """How much the Train tab moves while a run starts and takes its first steps, and its charts appear."""
    from gradio_client import Client

    url = f"http://127.0.0.1:{port}"
    visit = Visit(browser, url)
    visit.loaded()
    client = Client(url, verbose=False, httpx_kwargs={"timeout": 60})  # it is still importing Unsloth
    visit.page.get_by_role("tab", name="Train", exact=True).click()
    visit.page.wait_for_timeout(2000)  # its contents come after the click
    before = visit.shift()
    # Not by a click: what follows one within half a second does not count as a shift.
    client.predict(settings=["training.max_steps=1000000", "training.eval_steps=0"], api_name="/start")
    visit.page.wait_for_function(
        """least => {
            const step = document.querySelector("#side-run").innerText.match(/step ([\\d,]+) of/);
            return document.querySelector("#charts svg") && step && +step[1].replaceAll(",", "") >= least;
        }""",
        arg=steps,
        timeout=600_000,
    )
    moved = visit.shift() - before
    client.predict(api_name="/stop")
    visit.page.context.close()
    return moved


def measure(rounds: int, steps: int) -> None:
    """Opens an empty Gradio page and this one in turns, each served by a process of its own, and reports both."""
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    ours, empty = [], []
    with tempfile.TemporaryDirectory() as runs_dir, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(rounds):
            port = free_port()
            empty.append(opened(browser, port, ["-c", EMPTY, str(port)]))
            port = free_port()
            ours.append(opened(browser, port, page_command(port, runs_dir)))
        report("page, first load", **_figures(ours, empty))
        port = free_port()
        with served(page_command(port, runs_dir), port):
            report("page, a run starts", layout_shift=shift_of_a_run(browser, port, steps))
        browser.close()


def _figures(ours: list[tuple[float, Load]], empty: list[tuple[float, Load]]) -> dict[str, float]:
    """Medians of both pages with their ratios; of what should be zero, the most that this page had."""
    figures = {"seconds_ratio": median_ratio([s for s, _ in ours], [s for s, _ in empty])}
    for name in ("requests", "bytes"):
        our, theirs = (statistics.median(getattr(load, name) for _, load in loads) for loads in (ours, empty))
        figures |= {name: our, f"empty_{name}": theirs, f"{name}_ratio": our / theirs}
    for name in ("other_hosts", "layout_shift", "console_errors"):
        figures[name] = max(getattr(load, name) for _, load in ours)
    return figures
