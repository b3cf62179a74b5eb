"""The page in a window of its own, without the bars of a browser.

pywebview shows it if it is installed, else a Chromium, Chrome, Edge or Brave in app mode, with a profile of its own in
the runs folder. Such a window is a process of this program, which ends when the window is closed. Otherwise the page
opens in the default browser.
"""

import atexit
import os
import shutil
import subprocess
import sys
import threading
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import mark, tr

if TYPE_CHECKING:
    import gradio as gr

    from core.workbench.workbench import Workbench
    from ui.live import Live

WEBVIEW = Path(__file__).with_name("webview_window.py")
ON_PATH = (
    "google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "microsoft-edge", "microsoft-edge-stable",
    "brave-browser", "brave", "chrome", "msedge",
)  # fmt: skip
ON_WINDOWS = (
    "Google/Chrome/Application/chrome.exe",
    "Microsoft/Edge/Application/msedge.exe",
    "BraveSoftware/Brave-Browser/Application/brave.exe",
    "Chromium/Application/chrome.exe",
)
PROGRAM_FOLDERS = ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData")  # environment variables
ON_MACOS = ("Google Chrome", "Microsoft Edge", "Brave Browser", "Chromium")

# Without its questions to a new person, and without offering to restore what it showed when the program ended.
QUIETLY = ("--no-first-run", "--no-default-browser-check", "--hide-crash-restore-bubble")

START_SECONDS = 5  # a process that ends sooner shows no window: it failed, or left it to a browser that already runs
LOOK_SECONDS = 11  # a page asks once a second, and in a hidden tab every ten seconds (`ui.live`)
HIDDEN_SECONDS = 90  # or once a minute after a while, as browsers slow those down

NO_WINDOW = mark(
    "Neither pywebview nor a Chromium, Chrome, Edge or Brave shows a window here, so the default browser does."
)
STAYS = mark(
    "The window is closed, but {reason}: HearthTune ends after that; until then its page is at {url} "
    "(Ctrl-C ends it now)."
)
ELSEWHERE, EXPORTING = mark("the page is open elsewhere"), mark("an export is being made")


def find_browser() -> str:
    """The path of a browser that has the app mode; empty if none is found."""
    if sys.platform == "win32":
        roots = [Path(os.environ[name]) for name in PROGRAM_FOLDERS if os.environ.get(name)]
        usual = [root / place for place in ON_WINDOWS for root in roots]
    elif sys.platform == "darwin":
        roots = [Path("/Applications"), Path.home() / "Applications"]
        usual = [root / f"{name}.app/Contents/MacOS/{name}" for name in ON_MACOS for root in roots]
    else:
        usual = []
    found = [path for name in ON_PATH if (path := shutil.which(name))]
    return next(iter([*found, *(str(path) for path in usual if path.is_file())]), "")


def commands(url: str, folder: Path) -> list[list[str]]:
    """The commands that show a page in a window, best first. `folder` keeps what the page stores in the browser."""
    found = []
    if find_spec("webview"):
        found.append([sys.executable, str(WEBVIEW), url, str(folder / "webview")])
    if browser := find_browser():
        profile = folder / "browser"
        options = [f"--app={url}", f"--user-data-dir={profile}", *QUIETLY]
        first = [] if profile.exists() else ["--window-size=1440,900"]  # later it has the size that it had last
        found.append([browser, *options, *first])
    return found


class Window:
    """A window for the page at `url`. If it `outlives_us`, it stays open after the program that opens it."""

    def __init__(self, url: str, runs_dir: Path, outlives_us: bool = False):
        self.url, self.folder = url, runs_dir / "window"
        self.process: subprocess.Popen | None = None
        self._outlives_us = outlives_us

    def open(self) -> bool:
        """Opens the window, or else the default browser, and returns whether it is a window of this program.

        It is not if a browser with the same profile already runs, which then opens the window. Takes five seconds.
        """
        null = subprocess.DEVNULL
        for command in commands(self.url, self.folder):
            try:
                self.process = subprocess.Popen(
                    command, stdin=null, stdout=null, stderr=null, start_new_session=self._outlives_us
                )
                code = self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                return True
            except OSError:  # it cannot be run: the next one is tried, and the last is reported
                continue
            if code == 0:
                return False
        print(tr(NO_WINDOW), flush=True)
        webbrowser.open(self.url)
        return False

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()


def show_in_window(page: "gr.Blocks", live: "Live", workbench: "Workbench") -> None:
    """Shows a page that is being served in a window, which is closed when the program ends.

    When the person closes it, so is the page, which ends the program. While something is at work, or the page is open
    elsewhere, the program stays, and says so in the terminal.
    """
    own = _OwnWindow(page, live, workbench)
    threading.Thread(target=own.follow, name="window", daemon=True).start()
    atexit.register(own.close)


class _OwnWindow:
    def __init__(self, page: "gr.Blocks", live: "Live", workbench: "Workbench"):
        self._page, self._live, self._workbench = page, live, workbench
        self._window = Window(page.local_url, workbench.runs_dir)
        self._ended = threading.Event()

    def close(self) -> None:
        self._ended.set()
        self._window.close()

    def follow(self) -> None:
        if not self._window.open():
            return
        self._window.process.wait()
        if reason := self._needed_for(LOOK_SECONDS):
            print(tr(STAYS, reason=tr(reason), url=self._page.local_url), flush=True)
            while self._needed_for(HIDDEN_SECONDS):
                pass
        if not self._ended.is_set():
            self._page.close(verbose=False)

    def _needed_for(self, seconds: int) -> str:
        """What the program is needed for within so many seconds, as half a sentence; empty if for nothing."""
        before = self._live.asked
        for _ in range(seconds):
            if self._ended.wait(1):
                return ""
            if doing := self._workbench.busy_with:
                return doing
            if self._workbench.exporting.state.is_doing:
                return EXPORTING
            if self._live.asked != before:
                return ELSEWHERE
        return ""
