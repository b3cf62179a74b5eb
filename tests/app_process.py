"""Run the real program in its own process, for tests that use it from outside."""

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

from tests.warm_process import WARNINGS, WarmProcess, new_folder

PROJECT = Path(__file__).resolve().parent.parent
# No telemetry in tests; all requests to the page use loopback.
ENVIRONMENT = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
READ_WHILE_IMPORTED = (
    "HEARTHTUNE_LANGUAGE",
    "HF_",
    "GRADIO_",
    "SPACE_",
    "UNSLOTH_",
    "OMP_",
    "GOMP_",
    "PYTHON",
    "CUDA_",
    "LD_",
)


def start(
    *arguments: str,
    environment: dict[str, str] | None = None,
    in_background: bool = False,
    often: bool = False,
):
    """Start the program with these arguments, forked from a process that has imported its libraries, or cold.

    It starts cold if `environment` contains a variable that a library reads while it is imported, unless that happens
    `often`: then a process is kept that imported with those variables. `in_background` makes the program ignore SIGINT,
    like a background job of a shell script.
    """
    environment = environment or {}
    folder = new_folder()
    early = {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_WHILE_IMPORTED) and name != "HF_TOKEN"
    }
    if often or not early:
        return WarmProcess(
            "tests.warm_process:run_program",
            {"arguments": list(arguments)},
            ENVIRONMENT | environment,
            folder,
            in_background,
            tuple(sorted(early.items())),
        )
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "app.py", *arguments],
            cwd=PROJECT,
            env=ENVIRONMENT | {"PYTHONWARNINGS": WARNINGS} | environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=_ignore_sigint if in_background else None,
        )
    process.stdout_file, process.stderr_file = folder / "stdout", folder / "stderr"
    return process


@dataclass
class App:
    """A running app: its `url`, its runs folder, and what it has printed so far."""

    url: str
    runs_dir: Path
    process: WarmProcess | subprocess.Popen

    def printed(self) -> str:
        files = self.process.stdout_file, self.process.stderr_file
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def own_warnings(self) -> list[str]:
        """Warnings and stack traces that name a file of this project."""
        return re.findall(rf"^.*{re.escape(str(PROJECT))}/(?:app|core|ui)\b.*$", self.printed(), re.MULTILINE)


@contextmanager
def running_app(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[App]:
    """Start the page with its runs in `folder`/runs, wait until it answers, and stop it afterwards."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    runs_dir = folder / "runs"
    command = ["--no-browser", "--port", str(port), "--runs-dir", str(runs_dir), *arguments]
    process = start(*command, environment=environment, in_background=True)
    app = App(f"http://127.0.0.1:{port}", runs_dir, process)
    try:
        deadline = time.monotonic() + 120
        while not _answers(app.url):
            assert process.poll() is None, f"the app ended before it answered:\n{app.printed()}"
            assert time.monotonic() < deadline, f"no answer for two minutes:\n{app.printed()}"
            time.sleep(0.1)
        yield app
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(120)
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
    """The page with one finished run of the demo preset, trained with these settings before the start."""
    chosen = [word for setting in settings for word in ("--set", setting)]
    done = run_app("train", "demo-yoda", "--runs-dir", str(folder / "runs"), *chosen)
    assert done.returncode == 0, done.stderr
    with running_app(folder) as app:
        yield app


def run_app(
    *arguments: str, timeout: float = 300, environment: dict[str, str] | None = None, often: bool = False
) -> subprocess.CompletedProcess:
    """Run one command to its end and capture its output; `often` as for `start`."""
    process = start(*arguments, environment=environment, often=often)
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    stdout, stderr = (
        file.read_text(encoding="utf-8", errors="replace") for file in (process.stdout_file, process.stderr_file)
    )
    return subprocess.CompletedProcess(["app.py", *arguments], code, stdout, stderr)
