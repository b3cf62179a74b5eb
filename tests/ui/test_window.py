"""Which program shows the page in a window, and what happens when it cannot: real processes in a browser's place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from ui.desktop import window
from ui.desktop.window import NO_WINDOW, commands, find_browser

URL = "http://127.0.0.1:7860/"


def program(file: Path, body: str = "exit 1") -> str:
    """A program that any system lists as one; POSIX also runs it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return str(file)


@pytest.fixture
def empty_path(tmp_path, monkeypatch):
    """Nothing is found on the PATH but what a test puts into this folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_a_browser_on_the_path(empty_path):
    assert find_browser() == ""
    brave = program(empty_path / "brave")
    assert find_browser() == brave
    chromium = program(empty_path / "chromium")
    assert find_browser() == chromium


def test_the_usual_places_on_windows(empty_path, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(window.shutil, "which", lambda name: None)  # Python would ask Windows itself
    for name in ("ProgramFiles", "LocalAppData"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ProgramFiles(x86)", str(tmp_path / "x86"))
    assert find_browser() == ""
    edge = program(tmp_path / "x86/Microsoft/Edge/Application/msedge.exe")
    assert find_browser() == edge
    monkeypatch.setenv("LocalAppData", str(tmp_path / "local"))
    chrome = program(tmp_path / "local/Google/Chrome/Application/chrome.exe")
    assert find_browser() == chrome


def test_the_usual_places_on_macos(empty_path, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    brave = program(tmp_path / "Applications/Brave Browser.app/Contents/MacOS/Brave Browser")
    assert find_browser() == brave


def test_the_commands_in_their_order(empty_path, tmp_path, monkeypatch):
    assert commands(URL, tmp_path / "window") == []
    chromium, profile = program(empty_path / "chromium"), tmp_path / "window" / "browser"
    options = [f"--app={URL}", f"--user-data-dir={profile}", "--no-first-run", "--no-default-browser-check"]
    options += ["--hide-crash-restore-bubble"]
    assert commands(URL, tmp_path / "window") == [[chromium, *options, "--window-size=1440,900"]]
    profile.mkdir(parents=True)
    assert commands(URL, tmp_path / "window") == [[chromium, *options]]
    (tmp_path / "site" / "webview").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    script = str(PROJECT / "ui" / "desktop" / "webview_window.py")
    own = [sys.executable, script, URL, str(tmp_path / "window" / "webview")]
    assert commands(URL, tmp_path / "window") == [own, [chromium, *options]]


def opened(folder: Path, bin_folder: Path, outlives_us: bool = False) -> tuple[str, str]:
    """What opening a window prints, and the address that the default browser got."""
    seen = folder / "seen"
    default = program(folder / "default", f'echo "$1" > "{seen}"')
    code = "from pathlib import Path; from ui.desktop.window import Window; import os"
    code += f"; w = Window({URL!r}, Path({str(folder)!r}), {outlives_us}); print(w.open())"
    code += "; goes_on = w.process and w.process.poll() is None"
    code += "; print('apart') if goes_on and os.getsid(w.process.pid) == w.process.pid else None; w.close()"
    environment = {"PATH": str(bin_folder), "BROWSER": f"{default} %s"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, seen.read_text() if seen.exists() else ""


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script takes the browser's place")
@pytest.mark.parametrize(
    ("body", "printed", "in_default"),
    [
        ("exit 1", f"{NO_WINDOW}\nFalse\n", f"{URL}\n"),  # no display, or a profile that it may not write
        ("exit 0", "False\n", ""),  # it has left the window to a browser that already runs
        ("exec /bin/sleep 60", "True\n", ""),
    ],
)
def test_a_window_that_stays_or_does_not(tmp_path, body, printed, in_default):
    program(tmp_path / "bin" / "google-chrome", body)
    assert opened(tmp_path, tmp_path / "bin") == (printed, in_default)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script takes the browser's place")
def test_a_window_that_outlives_the_program_does_not_close_with_its_terminal(tmp_path):
    program(tmp_path / "bin" / "google-chrome", "exec /bin/sleep 60")
    assert opened(tmp_path, tmp_path / "bin", outlives_us=True) == ("True\napart\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script takes the browser's place")
def test_without_any_of_these_browsers_the_default_one_shows_the_page(tmp_path):
    (tmp_path / "bin").mkdir()
    assert opened(tmp_path, tmp_path / "bin") == (f"{NO_WINDOW}\nFalse\n", f"{URL}\n")
    (tmp_path / "bin" / "chromium").write_text("neither a script nor a program")
    (tmp_path / "bin" / "chromium").chmod(0o755)
    assert opened(tmp_path, tmp_path / "bin") == (f"{NO_WINDOW}\nFalse\n", f"{URL}\n")


def test_pywebview_gets_the_page_and_keeps_what_it_stores(tmp_path):
    """pywebview is not installed here and needs a display: a module in its place prints what it is called with."""
    (tmp_path / "webview.py").write_text(
        "settings = {}\n"
        "def create_window(title, url, **options): print(title, url, options)\n"
        "def start(**options): print(settings, options)\n"
    )
    script = PROJECT / "ui" / "desktop" / "webview_window.py"
    done = subprocess.run(
        [sys.executable, str(script), URL, "kept"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    icon = str(PROJECT / "ui" / "icons" / "icon-512.png")
    size = {"width": 1440, "height": 900, "text_select": True, "zoomable": True}
    kept = {"private_mode": False, "storage_path": "kept", "icon": icon}
    assert done.stdout == f"HearthTune {URL} {size}\n{{'ALLOW_DOWNLOADS': True}} {kept}\n", done.stderr
