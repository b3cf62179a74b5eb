"""What a Hugging Face Space needs: packages that its builder can install, and a place for runs."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click.testing
import pytest

from app import app
from core.problems import RunError
from core.settings import paths
from tests.conftest import PROJECT


def pinned(package: str, file: str) -> str:
    """The version that a requirement file pins."""
    return re.search(rf"^{package}==(\S+)", (PROJECT / file).read_text(encoding="utf-8"), re.MULTILINE)[1]


def sdk_version() -> str:
    return re.search(r"^sdk_version: (\S+)$", (PROJECT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)[1]


def test_the_space_runs_the_gradio_that_is_tested():
    versions = {pinned("gradio", file) for file in ("requirements.txt", "requirements-cpu.txt")}
    assert versions == {sdk_version()} == {version("gradio")}


@pytest.mark.slow
def test_the_builder_of_a_space_can_install_the_requirements():
    """It installs Gradio with its extras, and these packages, in one call with the requirements."""
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if uv is None and "CI" not in os.environ:
        pytest.skip("uv is not installed")
    builder = f"gradio[oauth,mcp]=={sdk_version()}\nuvicorn>=0.14.0\nwebsockets>=10.4\nspaces\n"
    asked = ["--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28"]
    done = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--no-annotate", *asked, "requirements.txt", "-"],
        cwd=PROJECT,
        input=builder,
        capture_output=True,
        text=True,
    )
    if "Failed to fetch" in done.stderr and "CI" not in os.environ:
        pytest.skip("no package index answers")
    assert done.returncode == 0, done.stderr
    found = dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)
    assert found["gradio"] == sdk_version()
    assert {name: found[name] for name in ("unsloth", "trl")} == {
        name: pinned(name, "requirements.txt") for name in ("unsloth", "trl")
    }


def runs_dir_of(**variables: str | None) -> str:
    """The runs folder of the command line with these environment variables."""
    done = click.testing.CliRunner().invoke(app, ["report", "no-such-run"], env=variables)
    assert isinstance(done.exception, RunError), done.output
    return done.exception.values["folder"]


def test_where_runs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SPACE_DISK", tmp_path / "data")
    none = {"HEARTHTUNE_RUNS_DIR": None, "SPACE_ID": None}
    space = none | {"SPACE_ID": "ada/hearth"}
    assert (runs_dir_of(**none), runs_dir_of(**space)) == ("runs", "runs"), "the Space has no disk"
    (tmp_path / "data").mkdir()
    assert (runs_dir_of(**none), runs_dir_of(**space)) == ("runs", str(tmp_path / "data" / "runs"))
    assert runs_dir_of(**space | {"HEARTHTUNE_RUNS_DIR": str(tmp_path / "own")}) == str(tmp_path / "own")
