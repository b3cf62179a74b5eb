"""A program that has Unsloth imported and forks a child for each order, so that many real runs need no many imports.

An order is a line of JSON on standard input: {"runs_dir", "result", and "start": settings as YAML, or "resume": a run's
id}. The answer is a line with the child's number; when the child is gone another with how it ended. The child is a
program of its own, which can be killed as one: it makes a Workbench, trains, and writes to the file `result` what the
run was like when it found it ("found") and what it came to.
"""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


class ForkServer:
    """The test's side of it."""

    def __init__(self, process: subprocess.Popen):
        self._process = process

    def order(self, runs_dir: Path, **values) -> int:
        """Starts a child; returns its number."""
        self._result = runs_dir.parent / "result.json"
        self._result.unlink(missing_ok=True)
        order = {"runs_dir": str(runs_dir), "result": str(self._result), **values}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()["pid"]

    def wait(self) -> dict | None:
        """What the child wrote, once it is gone; None when it was killed."""
        status = self._answer()["status"]
        if os.WIFSIGNALED(status):
            return None
        assert status == 0, "the child failed; what it printed stands above"
        return json.loads(self._result.read_text())

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        assert line, "the fork server has ended"
        return json.loads(line)


@contextmanager
def fork_server():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server"],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield ForkServer(process)
    finally:
        process.stdin.close()
        process.wait(60)


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    from core.model.unsloth_start import import_unsloth

    import_unsloth()
    import peft.tuners.lora  # noqa: F401 what a run needs besides, once for all children
    import trl  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            failed = 1
            try:
                _obey(json.loads(line))
                failed = 0
            finally:
                sys.stderr.flush()
                os._exit(failed)
        print(json.dumps({"pid": child}), file=answers, flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": status}), file=answers, flush=True)


def _obey(order: dict) -> None:
    from core.settings.run_config import RunConfig
    from core.workbench.workbench import Workbench

    bench = Workbench(Path(order["runs_dir"]))
    found = bench.snapshot
    if "start" in order:
        bench.start(RunConfig.from_yaml(order["start"]), "killed")
    else:
        bench.resume(order["resume"])
    snapshot = bench.wait()
    values = {"found": found and found.model_dump(mode="json"), "ended": snapshot.model_dump(mode="json")}
    Path(order["result"]).write_text(json.dumps(values))


if __name__ == "__main__":
    serve()
