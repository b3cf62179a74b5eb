"""Makes a model in Ollama, where that is installed and running on this machine."""

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx

from core.problems import ExportError, mark, tr
from core.threads import ShouldStop, leave_if

NOT_RUNNING = mark("Ollama does not answer on this machine: start it, and create the model again.")
FAILED = mark("Ollama could not create the model ({reason}); its own log says more.")
SECONDS_TO_ANSWER, SECONDS_BETWEEN_LOOKS = 1.0, 0.2


def is_running() -> bool:
    """Whether Ollama is installed here and answers."""
    return shutil.which("ollama") is not None and _answers()


def _answers() -> bool:
    host = os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434"
    address = host if "://" in host else f"http://{host.replace('0.0.0.0', '127.0.0.1')}"
    try:
        return httpx.get(f"{address}/api/version", timeout=SECONDS_TO_ANSWER, trust_env=False).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def model_name(run_name: str) -> str:
    """A run's name as Ollama allows it for a model."""
    return re.sub(r"[^a-z0-9._-]+", "-", run_name.lower()).strip("-._") or "my-model"


def create(name: str, modelfile: Path, should_stop: ShouldStop = lambda: False) -> None:
    """Creates the model, in place of an older one of that name. Raises ExportError, and Stopped within a second."""
    if not is_running():
        raise ExportError(NOT_RUNNING)
    with subprocess.Popen(
        ["ollama", "create", name, "-f", str(modelfile)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            said = _waited_for(process, should_stop)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = lines[-1].rstrip(".") if lines else tr("exit code {code}", code=process.returncode)
        raise ExportError(FAILED, reason=reason)


def _waited_for(process: subprocess.Popen, should_stop: ShouldStop) -> str:
    """What the process wrote to standard error by its end. Raises Stopped."""
    while True:
        leave_if(should_stop)
        with suppress(subprocess.TimeoutExpired):  # it goes on, and nothing that it wrote is lost
            return process.communicate(timeout=SECONDS_BETWEEN_LOOKS)[1]
