"""Runs a GGUF file with llama.cpp, as Ollama and LM Studio do: its tokens, its probabilities, its greedy answers."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import IO

from core.problems import ExportError, mark, tr
from core.settings.paths import PROJECT_DIR

PACKAGE = "xllamacpp==2026.10.11549"
NOT_INSTALLED = mark(
    "Testing a GGUF file needs llama.cpp, which is not installed: run `{python} -m pip install {package}` (34 MB), or "
    "export without the test."
)
NOT_INSTALLABLE = mark("llama.cpp could not be installed ({reason}); check the network, or export without the test.")
CANNOT_RUN = mark("llama.cpp cannot run {file} ({reason}); the file was not kept.")


def is_installed() -> bool:
    return find_spec("xllamacpp") is not None


def check_installed() -> None:
    """Raises ExportError, with the command that installs it, if llama.cpp is missing."""
    if not is_installed():
        raise ExportError(NOT_INSTALLED, python=sys.executable, package=PACKAGE)


def install() -> None:
    """Installs llama.cpp beside this program's other packages. Raises ExportError."""
    command = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", PACKAGE]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise ExportError(NOT_INSTALLABLE, reason=lines[-1].strip().rstrip(".") if lines else tr("pip failed"))
    invalidate_caches()


class LlamaCpp:
    """A GGUF file in a process that runs it. Each method raises ExportError if that process has ended."""

    def __init__(self, file: Path, process: subprocess.Popen, errors: IO[str]):
        self._file, self._process, self._errors = file, process, errors

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, in which special tokens count as such, without a token to begin it."""
        return self._ask(text=text)

    def log_probabilities(self, ids: Sequence[int], vocabulary: int):
        """Natural logarithms of the next token's probabilities, as float32 of shape (vocabulary,)."""
        import numpy as np

        made = np.full(vocabulary, -np.inf, dtype=np.float32)
        for token, value in self._ask(ids=list(ids), vocabulary=vocabulary).items():
            made[int(token)] = value
        return made

    def answer(self, ids: Sequence[int], most: int, ends: Collection[int]) -> list[int]:
        """The greedy answer in at most `most` tokens, without the one of `ends` that ends it."""
        made = self._ask(ids=list(ids), new=most)
        return made[: next((place for place, token in enumerate(made) if token in ends), None)]

    def _ask(self, **request):
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (OSError, json.JSONDecodeError):  # an empty line: the process has ended
            raise ExportError(CANNOT_RUN, file=self._file.name, reason=self._why_ended()) from None

    def _why_ended(self) -> str:
        """The signal that ended the process, else the last line of what it printed as an error."""
        code = self._process.wait()
        if code < 0:
            return Signals(-code).name
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1].rstrip(".") if lines else tr("exit status {code}", code=code)


@contextmanager
def running(file: Path, length: int, lora: Path | None = None) -> Iterator[LlamaCpp]:
    """llama.cpp with this file, and a LoRA on it, for texts of at most `length` tokens.

    Raises ExportError if llama.cpp is not installed.
    """
    check_installed()
    command = [sys.executable, "-m", "core.export.llama_cpp_worker", str(file), str(length)]
    command += [str(lora)] if lora else []
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command,
            cwd=PROJECT_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        ) as process,
    ):
        try:
            yield LlamaCpp(file, process, errors)
        finally:
            process.kill()
