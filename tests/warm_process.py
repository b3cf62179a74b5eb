"""Child processes that have the heavy libraries imported already.

Importing Unsloth and Gradio takes fifteen seconds of processor time, which a hundred starts of the program would pay a
hundred times. One process imports them and then forks a child for each order. A child is a program of its own with its
own number: it can be sent signals, killed, and waited for like any other.

An order is a line of JSON on standard input: {"call": "module:function", "arguments": {...}, "environment": {...},
"folder": where the child's `stdout`, `stderr` and `exit` files go, "ignore_sigint": bool}. The answer is a line with
the child's process id. Settings that a library reads while it is imported cannot be changed this way: such a process is
started cold, see `tests.app_process`.
"""

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# All warnings but Gradio's event loop that nobody closes: Python 3.11 fails when that warning comes amid an import.
WARNINGS = "default,ignore:unclosed event loop:ResourceWarning"


class WarmProcess:
    """One child, seen from the test, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, call: str, arguments: dict, environment: dict[str, str], folder: Path, ignore_sigint: bool):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for file in (self.stdout_file, self.stderr_file):
            file.touch()
        order = {
            "call": call,
            "arguments": arguments,
            "environment": environment,
            "folder": str(folder),
            "ignore_sigint": ignore_sigint,
        }
        self.pid = _server().start(order)
        self.returncode: int | None = None

    @property
    def stdout_file(self) -> Path:
        return self.folder / "stdout"

    @property
    def stderr_file(self) -> Path:
        return self.folder / "stderr"

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        file = self.folder / "exit"
        if self.returncode is None and file.exists():
            self.returncode = int(file.read_text())
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.folder), timeout)
            time.sleep(0.01)
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:  # it ended, and its exit code is about to be written
                self.wait(30)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Server:
    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm_process"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": WARNINGS},
        )
        self._lock = threading.Lock()
        atexit.register(self._process.stdin.close)

    def start(self, order: dict) -> int:
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, "the process that forks the children has ended"
        return json.loads(line)["pid"]


@cache
def _server() -> _Server:
    return _Server()


def new_folder() -> Path:
    """A folder for one child's output; removed when the tests end."""
    return Path(tempfile.mkdtemp(dir=_folders().name))


@cache
def _folders() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="warm-", ignore_cleanup_errors=True)


def serve() -> None:
    """Import what the program imports, then fork a child for each order until standard input closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    from core.model.unsloth_start import import_unsloth

    import_unsloth()
    import peft.tuners.lora  # noqa: F401
    import sacrebleu  # noqa: F401
    import scipy.stats  # noqa: F401
    import trl  # noqa: F401

    import app  # noqa: F401
    import ui.page  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the watchers below are nobody's to wait for
    for line in sys.stdin:
        order = json.loads(line)
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            _watch(order, write)
        os.close(write)
        with os.fdopen(read) as pipe:
            print(json.dumps({"pid": int(pipe.read())}), file=answers, flush=True)


def _watch(order: dict, write: int) -> None:
    """Fork the child, say its number, and keep its exit code in a file. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(write)
        _run(order)
    os.write(write, str(child).encode())
    os.close(write)
    _, status = os.waitpid(child, 0)
    part = Path(order["folder"]) / ".exit"
    part.write_text(str(os.waitstatus_to_exitcode(status)))
    part.rename(part.with_name("exit"))
    os._exit(0)


def _run(order: dict) -> None:
    """The child itself. Does not return."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN if order["ignore_sigint"] else signal.default_int_handler)
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(Path(order["folder"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(file, number)
            os.close(file)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.environ.clear()
        os.environ.update(order["environment"])
        module, _, function = order["call"].partition(":")
        code = getattr(importlib.import_module(module), function)(**order["arguments"]) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # waits for threads, as the end of a program does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_program(arguments: list[str]) -> int:
    """`python app.py` with these arguments."""
    import app

    sys.argv = ["app.py", *arguments]
    return app.main()


if __name__ == "__main__":
    serve()
