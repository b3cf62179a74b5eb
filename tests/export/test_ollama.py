"""Models in Ollama. No package has the program itself, so a script that notes what it is asked stands for it."""

import http.server
import os
import threading

import pytest

from core.export.ollama import FAILED, NOT_RUNNING, create, is_running, model_name
from core.problems import ExportError
from core.threads import Stopped

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")


class _Version(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/version" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def ollama(tmp_path, monkeypatch):
    """Makes `ollama` this shell script, with a server that answers where Ollama's would."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Version)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.server_port}")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def install(script: str) -> None:
        (tmp_path / "ollama").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "ollama").chmod(0o755)

    yield install
    server.shutdown()
    server.server_close()


def test_it_is_asked_for_the_model_of_the_modelfile(ollama, tmp_path):
    ollama(f'printf "%s|" "$@" > {tmp_path}/asked')
    assert is_running()
    create("yoda", tmp_path / "Modelfile")
    assert (tmp_path / "asked").read_text() == f"create|yoda|-f|{tmp_path / 'Modelfile'}|"


def test_its_last_line_is_the_reason(ollama, tmp_path):
    ollama('echo "gathering" >&2; echo "Error: no such file." >&2; exit 1')
    with pytest.raises(ExportError) as told:
        create("yoda", tmp_path / "Modelfile")
    assert (told.value.template, told.value.values) == (FAILED, {"reason": "Error: no such file"})


def test_it_stops_although_it_would_go_on_for_a_day(ollama, tmp_path):
    ollama(f"touch {tmp_path}/begun; exec sleep 86400")
    with pytest.raises(Stopped):
        create("yoda", tmp_path / "Modelfile", (tmp_path / "begun").exists)


def test_where_it_does_not_answer_nothing_is_started(ollama, tmp_path, monkeypatch):
    ollama(f"touch {tmp_path}/asked")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    assert not is_running()
    with pytest.raises(ExportError) as told:
        create("yoda", tmp_path / "Modelfile")
    assert told.value.template == NOT_RUNNING and not (tmp_path / "asked").exists()


def test_a_run_s_name_becomes_a_name_that_ollama_allows():
    names = {"demo-yoda": "demo-yoda", "Prices, second try": "prices-second-try", "<b>": "b", "가나": "my-model"}
    assert {name: model_name(name) for name in names} == names
