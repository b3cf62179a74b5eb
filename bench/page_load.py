"""What the page costs a browser that opens it, and how much it moves, also when a run starts; see `bench.page`."""

import shutil
import statistics
import tempfile
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

from bench.common import free_port, median_ratio, page_command, report, served
from bench.startup import EMPTY

SIZES = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
SETTLED_SECONDS = 2.0  # a page that has requested nothing new for that long is loaded
BEGUN = ".prose > *"  # the first text; on a slow machine it comes long after the last script was loaded
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

    def __init__(self, browser: Browser, url: str, size: str):
        self._host = urlsplit(url).netloc
        self._urls: dict[str, str] = {}  # by the request's id
        self._size, self._errors, self._last = 0, 0, time.monotonic()
        self.page = browser.new_context(viewport=SIZES[size]).new_page()
        self.page.add_init_script(SHIFTS)
        self.page.on("pageerror", self._note_error)
        self.page.on("console", lambda message: message.type == "error" and self._note_error())
        network = self.page.context.new_cdp_session(self.page)
        network.on("Network.requestWillBeSent", self._sent)
        network.on("Network.loadingFinished", self._received)
        network.send("Network.enable")
        self.page.goto(url, timeout=300_000)

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
        self.page.wait_for_selector(BEGUN, state="attached", timeout=300_000)
        self._last = time.monotonic()
        while time.monotonic() - self._last < SETTLED_SECONDS:
            self.page.wait_for_timeout(100)  # in which Playwright reports what happens
        others = sum(urlsplit(url).netloc != self._host for url in self._urls.values())
        return Load(len(self._urls), self._size, others, self.shift(), self._errors)

    def shift(self) -> float:
        return self.page.evaluate("window.shifts")


def opened(browser: Browser, port: int, command: list[str]) -> tuple[float, dict[str, Load]]:
    """The seconds until the program that this command starts answers at `port`, and what its page takes to open, by
    the size of the window."""
    began = time.monotonic()
    with served(command, port):
        seconds = time.monotonic() - began
        return seconds, loads_of(browser, f"http://127.0.0.1:{port}")


def loads_of(browser: Browser, url: str) -> dict[str, Load]:
    """What the page at this address takes to open, by the size of the window."""
    loads = {}
    for size in SIZES:
        visit = Visit(browser, url, size)
        loads[size] = visit.loaded()
        visit.page.context.close()
    return loads


def measure_run(browser: Browser, port: int, steps: int) -> None:
    """Reports how much the Train tab moves while a run starts, takes its first steps, and its charts appear; and what
    it takes to open the page then."""
    from gradio_client import Client

    url = f"http://127.0.0.1:{port}"
    visits = {size: Visit(browser, url, size) for size in SIZES}
    before = {}
    for size, visit in visits.items():
        visit.loaded()
        visit.page.get_by_role("tab", name="Train", exact=True).click()
        visit.page.wait_for_selector("#fit .fit", timeout=300_000)  # the last that comes after the click
        before[size] = visit.loaded().layout_shift
    client = Client(url, verbose=False, httpx_kwargs={"timeout": 60})  # it is still importing Unsloth
    # Not by a click: what follows one within half a second does not count as a shift.
    client.predict(settings=["training.max_steps=1000000", "training.eval_steps=0"], api_name="/start")
    for visit in visits.values():
        visit.page.wait_for_function(
            """least => {
                const step = document.querySelector("#side-run").innerText.match(/step ([\\d,]+) of/);
                return document.querySelector("#charts svg") && step && +step[1].replaceAll(",", "") >= least;
            }""",
            arg=steps,
            timeout=600_000,
        )
    report("page, a run starts", **{f"{size}_layout_shift": visits[size].shift() - before[size] for size in SIZES})
    for visit in visits.values():
        visit.page.context.close()
    report("page, opened during a run", **_worst([loads_of(browser, url)]))
    client.predict(api_name="/stop")


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
            measure_run(browser, port, steps)
        browser.close()


def _figures(ours: list[tuple[float, dict[str, Load]]], empty: list[tuple[float, dict[str, Load]]]) -> dict[str, float]:
    """Medians of both pages on a desktop with their ratios, and the worst of what should be zero."""
    figures = {"seconds_ratio": median_ratio([s for s, _ in ours], [s for s, _ in empty])}
    for name in ("requests", "bytes"):
        our, theirs = (
            statistics.median(getattr(load["desktop"], name) for _, load in loads) for loads in (ours, empty)
        )
        figures |= {name: our, f"empty_{name}": theirs, f"{name}_ratio": our / theirs}
    return figures | _worst([loads for _, loads in ours])


def _worst(rounds: list[dict[str, Load]]) -> dict[str, float]:
    """The most of what should be zero, the layout shift by the size of the window."""
    figures = {
        name: max(getattr(load, name) for loads in rounds for load in loads.values())
        for name in ("other_hosts", "console_errors")
    }
    return figures | {f"{size}_layout_shift": max(loads[size].layout_shift for loads in rounds) for size in SIZES}
