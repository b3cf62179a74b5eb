"""The style that `pyproject.toml` asks for, checked by ruff itself."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT


@pytest.mark.parametrize("command", ["check --output-format=concise", "format --check"])
def test_ruff_has_nothing_to_say(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "."], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
