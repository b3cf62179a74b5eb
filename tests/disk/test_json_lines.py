"""Appending to a file of lines: whole lines or none, whatever the disk does."""

import errno
import json
import os
import subprocess
import sys
import threading

import pytest

from core.disk.json_lines import append_lines, read_lines
from tests.conftest import PROJECT

IN_A_SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from core.disk.json_lines import append_lines

limit = int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    append_lines(Path(sys.argv[1]), [b"x" * 50, b"y" * 50], sync=True)
except OSError as error:
    print(error.errno)
"""


def test_lines_are_appended_in_order(tmp_path):
    file = tmp_path / "lines.jsonl"
    append_lines(file, [b"1"], sync=True)
    append_lines(file, [b"2", "“3”\u2028".encode()], sync=True)
    append_lines(file, [], sync=True)
    assert file.read_bytes() == b"1\n2\n" + "“3”\u2028\n".encode()
    assert read_lines(file) == [b"1", b"2", "“3”\u2028".encode()]


def test_what_is_no_file_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "missing") == []
    assert read_lines(tmp_path) == []
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert read_lines(tmp_path / "pipe") == []


@pytest.mark.parametrize("torn", [b'{"a', b'{"a": 1}', b"\xff"])
def test_a_torn_last_line_does_not_swallow_the_next(tmp_path, torn):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b"1\n" + torn)
    append_lines(file, [b"2"], sync=True)
    assert read_lines(file) == [b"1", torn, b"2"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of a file")
@pytest.mark.parametrize(
    ("room", "expected"),
    [(0, errno.EFBIG), (1, errno.ENOSPC), (60, errno.ENOSPC), (101, errno.ENOSPC), (102, None)],
)
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, room, expected):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b"before\n")
    command = [sys.executable, "-c", IN_A_SMALL_DISK, str(file), str(7 + room)]
    printed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert printed == ("" if expected is None else f"{expected}\n")
    added = b"" if expected else b"x" * 50 + b"\n" + b"y" * 50 + b"\n"
    assert file.read_bytes() == b"before\n" + added


def test_a_disk_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b"1\n{torn")

    def refuse(descriptor: int) -> None:  # a disk that fails cannot be had
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", refuse)
        with pytest.raises(OSError) as caught:
            append_lines(file, [b"2"], sync=True)
    assert caught.value.errno == errno.EIO
    assert file.read_bytes() == b"1\n{torn"
    append_lines(file, [b"2"], sync=True)
    assert read_lines(file) == [b"1", b"{torn", b"2"]


def test_threads_do_not_mix_their_lines(tmp_path):
    file = tmp_path / "lines.jsonl"
    start = threading.Barrier(2)

    def write(name: str) -> None:
        start.wait()
        for number in range(50):
            append_lines(file, [json.dumps([name, number, name * 2000]).encode()], sync=True)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = [json.loads(line) for line in read_lines(file)]
    for name in "ab":
        assert [number for by, number, text in found if by == name and text == name * 2000] == list(range(50))
    assert len(found) == 100
