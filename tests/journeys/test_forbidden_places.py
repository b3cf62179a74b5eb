"""Files and folders that this program may not look into: each is a sentence, wherever it is named."""

import os
import shutil
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.data.files.open_files import open_files
from core.model.model_files import locate
from core.problems import DataError, ModelError, RunError
from core.runs.adapter_to_continue import find_adapter
from core.runs.run_folder import find_run, list_runs
from core.runs.run_list import RunList
from core.runs.uploads import sweep_uploads
from core.settings.sections import ModelConfig

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other permissions")
NOBODY = 65534
SECRET = b"q,a\nhi,ho\n"


@pytest.fixture
def place():
    """A folder that all may enter; nobody else may enter pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.iterdir():
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def closed(place) -> Path:
    """Neither what is in it nor whether there is anything can be seen."""
    return folder_of_another(place / "closed", 0o000)


@pytest.fixture
def listed(place) -> Path:
    """The names of its files can be seen, and nothing else."""
    return folder_of_another(place / "listed", 0o444)


def folder_of_another(folder: Path, mode: int) -> Path:
    folder.mkdir()
    for name in ("a.csv", "run.json", "config.json", "adapter_config.json", "events.jsonl"):
        (folder / name).write_bytes(SECRET)
    folder.chmod(mode)
    return folder


@contextmanager
def as_another_user():
    """Root may look everywhere, so it becomes nobody for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def refused(kind: type[Exception], **values):
    with as_another_user(), pytest.raises(kind) as told:
        yield
    assert type(told.value) is kind and told.value.values == values and str(told.value).endswith(".")


def test_rows(closed, listed):
    denied = {"reason": "Permission denied"}
    with refused(DataError, place=str(listed / "a.csv"), **denied):
        open_files(str(listed))
    with refused(DataError, place=str(closed), **denied):
        open_files(str(closed))
    for name in (closed / "a.csv", listed / "a.csv", f"'{closed}/a.csv'"):
        with refused(DataError, place=str(name), **denied):
            open_files(str(name))


def test_a_socket_and_a_folder_with_nothing_else(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "a.csv"))
        with pytest.raises(DataError) as told:
            open_files(str(tmp_path / "a.csv"))
        assert told.value.values == {"file": "a.csv"} and "device" in str(told.value)
        with pytest.raises(DataError) as told:
            open_files(str(tmp_path))
        assert told.value.values == {"folder": tmp_path.name}


def test_runs_and_adapters(place, closed, listed, runs_dir):
    for folder in (closed, listed):
        with refused(RunError, run=str(folder), folder=str(runs_dir)):
            find_run(runs_dir, str(folder))
        with refused(RunError, wanted=str(folder)):
            find_adapter(runs_dir, str(folder))
    with refused(RunError, folder=str(closed), reason="permission denied"):
        list_runs(closed)
    with as_another_user():
        assert list_runs(listed) == list_runs(place) == list(RunList(place).rows()) == sweep_uploads(place) == []


@pytest.mark.parametrize("with_weights", [True, False])
def test_models(closed, listed, with_weights):
    for folder in (closed, listed):
        with refused(ModelError, name=str(folder), reason="Permission denied"):
            locate(ModelConfig(model_name=str(folder)), with_weights=with_weights)


@pytest.mark.skipif(not Path("/proc/1").is_dir(), reason="this system has no /proc")
def test_another_program(runs_dir):
    with as_another_user():
        with pytest.raises(DataError):
            open_files("/proc/1")
        with pytest.raises(RunError):
            find_run(runs_dir, "/proc/1/cwd")
        with pytest.raises(RunError):
            find_adapter(runs_dir, "/proc/1/cwd")
        with pytest.raises(ModelError):
            locate(ModelConfig(model_name="/proc/1/cwd"))
