"""Child processes in which the heavy libraries are already imported.

Importing Unsloth and Gradio takes fifteen seconds of CPU time, too much to repeat for each of a hundred starts of the
program. So one process imports them and forks a child for each request. A child is a normal process with its own id: it
can be signalled, killed and waited for.

A request is a line of JSON on standard input: {"call": "module:function", "arguments": {...}, "environment": {...},
"folder": where the child writes `stdout`, `stderr` and `exit`, "ignore_sigint": bool}. The answer is a line with
the child's process id. Variables that a library reads while it is imported cannot be set this way: such a process is
started cold, or forked from a second process that imported with them, see `tests.app_process`.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# All warnings except for Gradio's unclosed event loop: Python 3.11 fails if that warning is issued during an import.
WARNINGS = "default,ignore:unclosed event loop:ResourceWarning"


class WarmProcess:
    """The test's handle for one child, with the methods of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        call: str,
        arguments: dict,
        environment: dict[str, str],
        folder: Path,
        ignore_sigint: bool,
        imported_with: tuple[tuple[str, str], ...] = (),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for file in (self.stdout_file, self.stderr_file):
            file.touch()
        request = {
            "call": call,
            "arguments": arguments,
            "environment": environment,
            "folder": str(folder),
            "ignore_sigint": ignore_sigint,
        }
        self.pid = _server(imported_with).start(request)
        self.returncode: int | None = None

    @property
    def stdout_file(self) -> Path:
        return self.folder / "stdout"

    @property
    def stderr_file(self) -> Path:
        return self.folder / "stderr"

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it is running."""
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
            except ProcessLookupError:  # it has ended and its exit code is about to be written
                self.wait(30)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Server:
    """The process that forks children; `imported_with` are variables that were set when it imported the libraries."""

    def __init__(self, imported_with: tuple[tuple[str, str], ...]):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm_process"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": WARNINGS}
            | dict(imported_with),
        )
        self._lock = threading.Lock()
        atexit.register(self._process.stdin.close)

    def start(self, request: dict) -> int:
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, "the process that forks the children has ended"
        return json.loads(line)["pid"]


@cache
def _server(imported_with: tuple[tuple[str, str], ...] = ()) -> _Server:
    return _Server(imported_with)


def new_folder() -> Path:
    """A folder for one child's output; removed when the tests end."""
    return Path(tempfile.mkdtemp(dir=_folders().name))


@cache
def _folders() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="warm-", ignore_cleanup_errors=True)


@cache
def warm_python() -> str:
    """Path of an executable that runs Python code in a warm process, see `tests.warm_python`."""
    address, path = f"{_folders().name}/socket", Path(_folders().name) / "python"
    code = (PROJECT / "tests" / "warm_python.py").read_text(encoding="utf-8")
    path.write_text(f"#!{sys.executable} -S\n" + code.replace('ADDRESS = ""', f"ADDRESS = {address!r}"))
    path.chmod(0o755)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = json.loads(self.rfile.readline())
            child = run_in_warm_process(request["argv"], request["environment"])
            self.wfile.write(json.dumps({"pid": child.pid, "folder": str(child.folder)}).encode() + b"\n")

    server = socketserver.ThreadingUnixStreamServer(address, Handler)
    threading.Thread(target=server.serve_forever, name="warm python", daemon=True).start()
    return str(path)


def run_in_warm_process(argv: list[str], environment: dict[str, str]) -> WarmProcess:
    """Start `python *argv`; what it starts with `sys.executable` runs in warm processes too."""
    arguments = {"argv": argv, "executable": warm_python()}
    return WarmProcess("tests.warm_process:run_python", arguments, environment, new_folder(), ignore_sigint=False)


def serve() -> None:
    """Import what the program imports, then fork a child for each request until standard input is closed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the libraries' output out of the answers
    from core.model.unsloth_start import import_unsloth

    import_unsloth()
    import peft.tuners.lora  # noqa: F401
    import sacrebleu  # noqa: F401
    import scipy.stats  # noqa: F401
    import trl  # noqa: F401

    import app  # noqa: F401
    import ui.page  # noqa: F401

    gc.freeze()  # a child's garbage collector need not go through half a million objects of the libraries
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing waits for the watchers below
    for line in sys.stdin:
        request = json.loads(line)
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            _watch(request, write)
        os.close(write)
        with os.fdopen(read) as pipe:
            print(json.dumps({"pid": int(pipe.read())}), file=answers, flush=True)


def _watch(request: dict, write: int) -> None:
    """Fork the child, send its process id, and write its exit code to a file. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        os.close(write)
        _run(request)
    os.write(write, str(child).encode())
    os.close(write)
    _, status = os.waitpid(child, 0)
    part = Path(request["folder"]) / ".exit"
    part.write_text(str(os.waitstatus_to_exitcode(status)))
    part.rename(part.with_name("exit"))
    os._exit(0)


def _run(request: dict) -> None:
    """Run the call in the child. Does not return."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN if request["ignore_sigint"] else signal.default_int_handler)
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(Path(request["folder"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(file, number)
            os.close(file)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.environ.clear()
        os.environ.update(request["environment"])
        module, _, function = request["call"].partition(":")
        code = getattr(importlib.import_module(module), function)(**request["arguments"]) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # waits for threads, as Python does on exit
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_program(arguments: list[str]) -> int:
    """Run `python app.py` with these arguments."""
    import app

    sys.argv = ["app.py", *arguments]
    return app.main()


def run_python(argv: list[str], executable: str) -> None:
    """Run `python *argv`, with `executable` as the Python for further processes."""
    sys.executable = executable
    kind, *rest = argv
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = argv
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    serve()
