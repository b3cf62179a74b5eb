"""Why the page does not start: the address, the runs folder, or something else, each in a sentence that is true."""

import errno
import http.server
import os
import socket
import threading

import pytest

from core.problems import RunError
from core.runs.uploads import make_uploads_dir
from tests.app_process import run_app
from tests.conftest import tmpfs
from ui.desktop.second_start import make_key, page_of_another
from ui.listening import why_not_listening


@pytest.fixture
def busy_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_an_address_where_the_page_can_listen(busy_port, free_port):
    assert [why_not_listening(host, free_port) for host in ("127.0.0.1", "0.0.0.0", "")] == ["", "", ""]
    assert why_not_listening("127.0.0.1", busy_port) == os.strerror(errno.EADDRINUSE).lower()


@pytest.mark.parametrize(("host", "reason"), [("192.0.2.1", os.strerror(errno.EADDRNOTAVAIL)), ("nowhere.invalid", "")])
def test_an_address_that_is_not_this_machines(free_port, host, reason):
    assert why_not_listening(host, free_port).startswith(reason[:1].lower() + reason[1:])
    assert why_not_listening(host, free_port) != ""


def test_a_port_in_use_is_named(busy_port, tmp_path):
    done = run_app("--no-browser", "--port", str(busy_port), "--runs-dir", str(tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith(f"The page cannot listen on 127.0.0.1:{busy_port} (address already in use);")


def test_another_program_is_not_taken_for_this_one(tmp_path):
    """Even if it has a page for every address, as development servers do."""
    make_key(tmp_path)

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.rpartition("/")[2].encode())  # the number itself

        def log_message(self, *args):
            """Prints nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            assert page_of_another("127.0.0.1", server.server_port, tmp_path) == ""
        finally:
            server.shutdown()


def test_a_damaged_key_is_made_anew(tmp_path):
    (tmp_path / "page.key").write_text("half a k")
    make_key(tmp_path)
    key = (tmp_path / "page.key").read_text()
    make_key(tmp_path)
    assert len(key) == 64 and (tmp_path / "page.key").read_text() == key


@pytest.fixture
def read_only(tmp_path):
    with tmpfs(tmp_path / "disk", "ro,size=1m") as reason:
        if reason:
            pytest.skip(f"no read-only disk: {reason}")
        yield tmp_path / "disk"


def test_a_read_only_folder_is_named(read_only):
    for runs_dir in (read_only, read_only / "new" / "runs"):
        done = run_app("--no-browser", "--port", "7860", "--runs-dir", str(runs_dir))
        assert (done.returncode, done.stdout) == (2, "")
        (sentence,) = done.stderr.splitlines()
        assert sentence == (
            f"Runs and uploads cannot be saved in {runs_dir}: read-only file system; choose another folder with "
            "--runs-dir."
        )


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError) as caught:
        make_uploads_dir(tmp_path / "file" / "runs")
    assert caught.value.values == {"folder": str(tmp_path / "file" / "runs"), "reason": "not a directory"}
