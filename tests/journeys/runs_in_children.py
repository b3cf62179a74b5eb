"""Real runs in child processes that a test can kill."""

import json
from pathlib import Path

from tests.app_process import ENVIRONMENT
from tests.warm_process import WarmProcess, new_folder


class RunInChild:
    """A run that a child process starts (`start`: settings as YAML) or resumes (`resume`: a run's id)."""

    def __init__(self, runs_dir: Path, **request: str):
        folder = new_folder()
        self._result = folder / "result.json"
        arguments = {"runs_dir": str(runs_dir), "result": str(self._result), **request}
        self._process = WarmProcess("tests.journeys.runs_in_children:run_once", arguments, ENVIRONMENT, folder, True)
        self.pid = self._process.pid

    def wait(self) -> dict | None:
        """The run's snapshots before (`found`) and after (`ended`), or None if the child was killed."""
        code = self._process.wait()
        if code < 0:
            return None
        assert code == 0, self._process.stderr_file.read_text()
        return json.loads(self._result.read_text())


def run_once(runs_dir: str, result: str, start: str = "", resume: str = "") -> None:
    """Run in the child: start or resume one run, then write the snapshots before and after it to `result`."""
    from core.settings.run_config import RunConfig
    from core.workbench.workbench import Workbench

    bench = Workbench(Path(runs_dir))
    found = bench.snapshot
    if start:
        bench.start(RunConfig.from_yaml(start), "killed")
    else:
        bench.resume(resume)
    snapshot = bench.wait()
    values = {"found": found and found.model_dump(mode="json"), "ended": snapshot.model_dump(mode="json")}
    Path(result).write_text(json.dumps(values))
