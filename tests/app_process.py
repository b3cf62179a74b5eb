"""The real program in a process of its own, for the tests that come to it from outside."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# All warnings but Gradio's event loop that nobody closes: Python 3.11 stumbles when that is told amid an import.
WARNINGS = "default,ignore:unclosed event loop:ResourceWarning"
# A browser's and a tracker's own traffic has no place in a test; the page is asked on loopback alone.
ENVIRONMENT = os.environ | {
    "PYTHONWARNINGS": WARNINGS,
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass
class App:
    """A page that answers at `url`, its runs, and what it has printed so far."""

    url: str
    runs_dir: Path
    log: Path
    process: subprocess.Popen

    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def warnings_of_ours(self) -> list[str]:
        """Warnings and stack traces that name a file of this project."""
        return re.findall(rf"^.*{re.escape(str(PROJECT))}/(?:app|core|ui)\b.*$", self.printed(), re.MULTILINE)


@contextmanager
def running_app(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[App]:
    """Starts the page with its runs below `folder`, waits until it answers, and ends it afterwards."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    runs_dir, log = folder / "runs", folder / "app.log"
    command = [sys.executable, "app.py", "--no-browser", "--port", str(port), "--runs-dir", str(runs_dir), *arguments]
    with log.open("wb") as output:
        # As a script in the background starts it: made to ignore SIGINT, so that only SIGTERM can end it.
        process = subprocess.Popen(
            command, cwd=PROJECT, env=ENVIRONMENT | (environment or {}), stdout=output, stderr=subprocess.STDOUT,
            preexec_fn=_ignore_sigint,
        )  # fmt: skip
    app = App(f"http://127.0.0.1:{port}", runs_dir, log, process)
    try:
        deadline = time.monotonic() + 120
        while not _answers(app.url):
            assert process.poll() is None, f"the page ended before it answered:\n{app.printed()}"
            assert time.monotonic() < deadline, f"no answer for two minutes:\n{app.printed()}"
            time.sleep(0.1)
        yield app
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _ignore_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status == 200
    except OSError:
        return False


@contextmanager
def running_app_with_a_run(folder: Path, *settings: str) -> Iterator[App]:
    """The page with one finished run of the demo, trained with these settings before it was started."""
    chosen = [word for setting in settings for word in ("--set", setting)]
    done = run_app("train", "demo-yoda", "--runs-dir", str(folder / "runs"), *chosen)
    assert done.returncode == 0, done.stderr
    with running_app(folder) as app:
        yield app


def run_app(
    *arguments: str, timeout: float = 300, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """One command to its end, with what it printed."""
    return subprocess.run(
        [sys.executable, "app.py", *arguments],
        cwd=PROJECT,
        env=ENVIRONMENT | (environment or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
