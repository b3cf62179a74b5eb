"""A person's machine for tests of Hugging Face datasets: an environment and a cache of its own, and one hub.

The `datasets` library reads HF_ENDPOINT and HF_HOME when it is imported, so each client needs a process of its own. To
save time, one server process imports everything that does not depend on them, and forks a child for each request.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NAME = "somebody/OldSayings"  # of the dataset, unless a config names another


class HubProcesses:
    """The test's side of the server process."""

    def __init__(self, server: subprocess.Popen):
        self._server = server

    def ask(self, configs: list[dict], token: str, env: dict[str, str]) -> tuple[list[dict], str]:
        """The answers of a new child with this environment, and everything that it printed."""
        self._server.stdin.write(json.dumps({"configs": configs, "token": token, "env": env}) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, "the server process has ended"
        reply = json.loads(line)
        assert reply["status"] == 0, reply["printed"]
        return reply["answers"], reply["printed"]


@contextmanager
def hub_processes():
    command = [sys.executable, "-m", "tests.data.hub_client"]
    server = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield HubProcesses(server)
    finally:
        server.stdin.close()
        server.wait(60)


@dataclass
class Client:
    """One person's machine: its cache is in `home`, and the hub is at `address`."""

    processes: HubProcesses
    home: Path
    address: str
    printed: str = ""

    def ask(self, *configs: dict, token: str = "", **more: str) -> list[dict]:
        """Opens each dataset in a new process; `more` are environment variables. `printed` gets all output."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": self.address, "HF_HOME": str(self.home), "HF_HUB_DISABLE_TELEMETRY": "1",
                "NO_PROXY": "127.0.0.1", **more}  # fmt: skip
        answers, printed = self.processes.ask([{"path": NAME} | config for config in configs], token, env)
        self.printed += json.dumps(answers) + printed
        return answers

    def errors(self, *configs: dict, **more: str) -> list[dict]:
        """The values of the errors that these datasets raise."""
        return [answer["values"] for answer in self.ask(*configs, **more)]


def serve() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not a reply
    import httpx  # noqa: F401 imported for the children
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import core.data.prepared.prepare  # noqa: F401

    assert "huggingface_hub" not in sys.modules, "it has to be imported with the client's environment"
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            printed, answers = Path(folder, "printed"), Path(folder, "answers")
            child = os.fork()
            if child == 0:
                _answer(json.loads(line), printed, answers)
            _, status = os.waitpid(child, 0)
            text = printed.read_text(errors="replace")
            reply = {
                "status": status,
                "printed": text,
                "answers": json.loads(answers.read_text()) if not status else [],
            }
        print(json.dumps(reply), file=replies, flush=True)


def _answer(request: dict, printed: Path, answers: Path) -> None:
    """Runs in a child; ends it."""
    status = 1
    try:
        output = os.open(printed, os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.clear()
        os.environ.update(request["env"])
        answers.write_text(json.dumps([_opened(config, request["token"]) for config in request["configs"]]))
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _opened(config: dict, token: str) -> dict:
    """What becomes of one dataset: its rows, or the error."""
    from core.data.prepared.prepare import open_rows
    from core.problems import DataError
    from core.settings.sections import DataConfig

    if "visitor" in config:
        return _as_a_visitor(config, token)
    try:
        rows = open_rows(DataConfig(**config), token or None)
        seen = [(list(row), rows.share) for row in rows]
    except DataError as error:
        return {"error": str(error), "values": error.values}
    return {
        "rows": [row for row, _ in seen],
        "shares": [share for _, share in seen],
        "notes": rows.notes,
        "again": len(list(rows)),
        "splits": rows.wants_splitting,
    }


def _as_a_visitor(config: dict, token: str) -> dict:
    """The first rows of a dataset as a visitor of an open page sees them, or its model's shape, or the error."""
    # The program imports its libraries when it starts; here, the job that loads a tokenizer and the rows would both.
    from transformers import PreTrainedTokenizerBase  # noqa: F401

    from core.problems import Problem
    from core.settings.presets import find_preset
    from core.visitors.policy import OPEN
    from core.visitors.visits import Visits
    from core.workbench.workbench import Workbench

    values = find_preset("demo-yoda").config.model_dump()
    if "model" in config:
        values["model"]["model_name"] = config["model"]
    else:
        values["data"]["path"] = config["path"]
    with tempfile.TemporaryDirectory() as folder:
        visit = Visits(Workbench(Path(folder) / "runs"), OPEN).visit(config["visitor"])
        wanted = find_preset("demo-yoda").config.build(values)
        try:
            if "model" in config:
                return {"shape": visit.shape_of(wanted.model, token).model_dump()}
            return {"rows": visit.look(wanted, token).rows}
        except Problem as error:
            return {"error": str(error), "kind": type(error).__name__, "values": error.values}


if __name__ == "__main__":
    serve()
