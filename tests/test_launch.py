"""Run `launch.py` as a user does, with real environments and a real pip and uv that install generated wheels.

Each test uses its own folder with a copy of `launch.py`, a stub `app.py` and requirement files.
Nothing is downloaded: pip and uv can only reach a folder of tiny wheels or a local server.
"""

import base64
import hashlib
import http.server
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import launch
from tests.conftest import tmpfs

pytestmark = pytest.mark.slow

SOURCE = Path(launch.__file__)
APP = """
import sys
import torch, unsloth
print("app", sys.argv[1:], torch.VERSION, unsloth.VERSION)
sys.exit(7)
"""
posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and permissions")


def make_wheel(folder: Path, name: str, version: str, requires: str = "", body: str = "", program: str = "") -> None:
    """Write a minimal wheel: one module with a `VERSION`, an optional dependency, and an optional shell script."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n{body}",
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if program:
        files[f"{name}-{version}.data/scripts/{name}"] = f"#!/bin/sh\n{program}\n"
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            archive.writestr(entry, text)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "torch", "2.13.0")
    make_wheel(folder, "torch", "2.13.0+cpu", requires="needle")
    make_wheel(folder, "needle", "1.0")
    make_wheel(folder, "unsloth", "1.0", requires="nowhere-to-be-found>=9")
    make_wheel(folder, "unsloth", "1.1", requires="nowhere-to-be-found>=9")
    make_wheel(folder, "pytest", "9.9", body="import os, sys\nprint('tests', sys.argv[1:], os.getcwd())\n")
    if os.name != "nt":  # there pip does all the work in these tests
        make_wheel(
            folder, "uv", "0.13.0", program=f'exec {shlex.quote(str(Path(sys.executable).with_name("uv")))} "$@"'
        )
    return folder


class Home:
    """A folder as it is after cloning, and the commands a user can run in it."""

    def __init__(self, folder: Path, wheels: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.venv = folder, folder / ".venv"
        shutil.copy(SOURCE, folder)
        (folder / "app.py").write_text(APP)
        (folder / "ui").mkdir(exist_ok=True)
        (folder / "ui/page.py").write_text("import torch\n")
        self.require("torch==2.13.0", "unsloth==1.0  # the tested one")
        (folder / "requirements.txt").write_text("torch>=2.11\nunsloth==1.1\nuv\n")
        (folder / "requirements-test.txt").write_text("pytest\n")
        # Ignore pip's and uv's settings on this machine, and its GPU if it has one.
        ignored = ("PIP_", "UV_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        self.env = {name: value for name, value in os.environ.items() if not name.upper().startswith(ignored)}
        self.env |= {
            "UV_CACHE_DIR": str(wheels / "cache"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_RETRIES": "1",
        }
        folders = self.env.get("PATH", "").split(os.pathsep)
        self.env["PATH"] = os.pathsep.join(path for path in folders if not Path(path, "nvidia-smi").exists())

    def require(self, *lines: str) -> None:
        (self.folder / "requirements-cpu.txt").write_text("# a comment\n\nuv\n" + "\n".join(lines) + "\n")

    def use_index(self, address: str) -> None:
        """Make pip use only this index."""
        self.env.pop("PIP_NO_INDEX", None)
        self.env.pop("PIP_FIND_LINKS", None)
        self.env["PIP_INDEX_URL"] = address

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / "launch.py"), *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*arguments), env=self.env, capture_output=True, text=True, timeout=300)

    def kill_when(self, condition, *arguments: str) -> str:
        """Start it, kill it with all its children as soon as `condition()` holds, and give what it said."""
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.env,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: condition() or process.poll() is not None)
            assert process.poll() is None, "the process ended before it could be killed"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            stderr = process.communicate()[1]
        return stderr

    @property
    def python(self) -> Path:
        return self.venv / launch.PYTHON.relative_to(launch.VENV)

    @property
    def record(self) -> Path:
        return self.venv / launch.RECORD.name

    @property
    def log(self) -> str:
        return (self.venv / launch.LOG.name).read_text()


def wait_until(condition, timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not true after {timeout:g} s"
        time.sleep(0.002)


def assert_refused(answer: subprocess.CompletedProcess, *words: str) -> None:
    """Check for exit code 1 and, after the progress lines, one sentence that contains these words."""
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    sentence = answer.stderr.splitlines()[-1]
    for word in words:
        assert word in sentence
    assert sentence.endswith((".", ").")) and "start again" in sentence


@pytest.fixture
def home(tmp_path, wheels) -> Home:
    return Home(tmp_path / "a home with spaces", wheels)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, wheels) -> Path:
    """A folder after its first start. Tests that change it use a copy."""
    home = Home(tmp_path_factory.mktemp("finished") / "home", wheels)
    answer = home.run("--port", "1 2")
    assert (answer.returncode, answer.stdout) == (7, "app ['--port', '1 2'] 2.13.0+cpu 1.0\n")
    return home.folder


@pytest.fixture
def installed(finished, tmp_path, wheels) -> Home:
    shutil.copytree(finished, tmp_path / "home", symlinks=True)
    return Home(tmp_path / "home", wheels)


def test_the_second_start_does_not_touch_pip(installed):
    before = installed.record.stat().st_mtime_ns, installed.log
    shutil.rmtree(next(installed.venv.glob("[Ll]ib/**/site-packages/pip")))
    answer = installed.run("again")
    assert (answer.returncode, answer.stdout) == (7, "app ['again'] 2.13.0+cpu 1.0\n")
    assert answer.stderr == ""
    assert (installed.record.stat().st_mtime_ns, installed.log) == before


def test_setup_does_not_start_the_app(installed):
    answer = installed.run("setup")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "Everything is already installed.\n")


def test_the_record_lists_what_is_installed(installed):
    digest = hashlib.sha256((installed.folder / "requirements-cpu.txt").read_bytes()).hexdigest()
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert installed.record.read_text().splitlines() == [
        f"python {python}",
        f"requirements-cpu.txt {digest}",
        "set cpu",
    ]


@posix_only
def test_uv_installs_and_the_page_is_compiled(installed):
    """And nothing else is: that would take over a minute."""
    lines = [line for line in installed.log.splitlines() if line.startswith(("Successfully installed", " + "))]
    assert lines == ["Successfully installed uv-0.13.0", " + torch==2.13.0+cpu", " + needle==1.0", " + unsloth==1.0"]
    compiled = {path.name.split(".")[0] for path in installed.venv.glob("lib/*/site-packages/__pycache__/*.pyc")}
    assert compiled == {"torch", "unsloth"}  # what the app imports
    # The app of these tests does not import the page, so set-up did.
    assert [path.name.split(".")[0] for path in installed.folder.glob("ui/__pycache__/*.pyc")] == ["page"]


def uv_that_fails(wheels: Path) -> None:
    make_wheel(wheels, "uv", "0.13.1", program="echo error: not today; exit 2")


def no_uv(wheels: Path) -> None:
    for wheel in wheels.glob("uv-*"):
        wheel.unlink()


@posix_only
@pytest.mark.parametrize("change", [uv_that_fails, no_uv])
def test_what_uv_cannot_install_pip_does(tmp_path, wheels, change):
    shutil.copytree(wheels, tmp_path / "wheels", ignore=shutil.ignore_patterns("cache"))
    change(tmp_path / "wheels")
    home = Home(tmp_path / "home", tmp_path / "wheels")
    if change is no_uv:
        home.require("torch==2.13.0", "unsloth==1.0")
        text = (home.folder / "requirements-cpu.txt").read_text()
        (home.folder / "requirements-cpu.txt").write_text(text.replace("\nuv\n", "\n"))
    answer = home.run()
    assert (answer.returncode, answer.stdout) == (7, "app [] 2.13.0+cpu 1.0\n"), answer.stderr
    assert "Successfully installed unsloth-1.0" in home.log
    assert ("error: not today" in home.log) == (change is uv_that_fails)


@posix_only
def test_uv_goes_by_the_settings_of_pip(tmp_path, wheels):
    """An index, another one, a constraint and a folder, from a file and from the environment."""
    for name, packages in {"main": ["torch-2.13.0+cpu", "unsloth"], "more": ["needle", "pytest"]}.items():
        for wheel in (path for package in packages for path in wheels.glob(f"{package}*.whl")):
            folder = tmp_path / name / wheel.name.split("-")[0]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(wheel, folder)
            (folder / "index.html").write_text("".join(f'<a href="{path.name}">.</a>' for path in folder.glob("*.whl")))
    (tmp_path / "links").mkdir()
    shutil.copy(wheels / "uv-0.13.0-py3-none-any.whl", tmp_path / "links")
    (tmp_path / "caps.txt").write_text("unsloth<1.1\n")
    (tmp_path / "pip.conf").write_text(
        f"[global]\nindex-url = https://packages.invalid/simple\nextra-index-url =\n  {(tmp_path / 'more').as_uri()}\n"
        f"constraint = {tmp_path / 'caps.txt'}\n[install]\nindex-url = {(tmp_path / 'main').as_uri()}\n"
        "no-index = false\n[download]\nfind-links = nowhere\n"
    )
    home = Home(tmp_path / "home", wheels)
    home.require("torch==2.13.0", "unsloth")
    text = (home.folder / "launch.py").read_text()
    (home.folder / "launch.py").write_text(text.replace("https://download.pytorch.org/whl", tmp_path.as_uri()))
    (tmp_path / "cpu").mkdir()
    del home.env["PIP_NO_INDEX"]
    home.env |= {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_FIND_LINKS": str(tmp_path / "links")}
    answer = home.run()
    assert (answer.returncode, answer.stdout) == (7, "app [] 2.13.0+cpu 1.0\n"), answer.stderr
    lines = [line for line in home.log.splitlines() if line.startswith(("Successfully installed", " + "))]
    assert lines == ["Successfully installed uv-0.13.0", " + torch==2.13.0+cpu", " + needle==1.0", " + unsloth==1.0"]


def test_settings_of_pip_are_read_from_files_and_variables(tmp_path, monkeypatch):
    (tmp_path / "pip.conf").write_text(
        "[global]\ncert = /certificates of a firm.pem\nindex-url = https://a.invalid/simple\n"
        "trusted-host = a.invalid\n  b.invalid\n[install]\nindex-url = https://b.invalid/simple\nfind-links = c\n"
    )
    monkeypatch.setattr(launch, "PYTHON", Path(sys.executable))
    for name in ("PIP_INDEX_URL", "PIP_CERT", "PIP_TRUSTED_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "d")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/bundle.pem")
    found = launch.pip_settings()
    assert {name: found[name] for name in ("cert", "index-url", "find-links")} == {
        "cert": "/certificates of a firm.pem",
        "index-url": "https://b.invalid/simple",
        "find-links": "d",
    }
    assert found["trusted-host"].split() == ["a.invalid", "b.invalid"]
    monkeypatch.setenv("PIP_CERT", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert launch.pip_settings()["cert"] == "/bundle.pem"


def test_settings_of_pip_are_options_of_uv():
    settings = {
        "cert": "/certificates of a firm.pem",
        "extra-index-url": "https://b.invalid https://c.invalid",
        "index-url": "https://a.invalid",
        "only-binary": ":all:",
        "proxy": "http://proxy.invalid:8080",
        "timeout": "60",
    }
    fixed = [f"--python={launch.PYTHON}", "--index-strategy=unsafe-best-match", "--color=never"]
    given = ["--cert=/certificates of a firm.pem", "--only-binary=:all:"]
    others = ["--index=https://b.invalid", "--index=https://c.invalid"]

    def options(*index: str) -> list[str]:
        return launch.uv_command(["x"], settings, False, index)[3:-1]

    assert options() == [*fixed, "--default-index=https://a.invalid", *given, *others]
    more = options("extra-index-url", "https://d.invalid")
    assert more == [*fixed, "--default-index=https://a.invalid", *given, *others, "--index=https://d.invalid"]
    other = options("index-url", "https://d.invalid")
    assert other == [*fixed, "--default-index=https://d.invalid", *given, *others]
    alone = launch.uv_command(["x"], {"no-index": "true"}, True)[3:-1]
    assert alone == [*fixed, "--no-deps", "--system-certs", "--no-index"]
    assert "--no-index" not in launch.uv_command(["x"], {"no-index": "false"}, True)
    assert launch.environment(settings)["HTTPS_PROXY"] == "http://proxy.invalid:8080"


@posix_only
@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch's own index for CPUs is for Linux")
def test_uv_does_without_an_index_of_pytorch_that_does_not_answer(tmp_path, wheels):
    home = Home(tmp_path / "home", wheels)
    with socket.socket() as closed:  # bound, not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        text = (home.folder / "launch.py").read_text()
        (home.folder / "launch.py").write_text(text.replace("https://download.pytorch.org/whl", address))
        (tmp_path / "empty").mkdir()
        home.env |= {"PIP_INDEX_URL": (tmp_path / "empty").as_uri(), "UV_HTTP_RETRIES": "0"}
        del home.env["PIP_NO_INDEX"]
        answer = home.run()
    assert (answer.returncode, answer.stdout) == (7, "app [] 2.13.0+cpu 1.0\n"), answer.stderr
    assert f"Failed to fetch: `{address}/cpu/torch/`" in home.log.replace(": http", ": `http").replace("/\n", "/`\n")
    assert "Successfully installed uv-0.13.0" in home.log and "Successfully installed torch" not in home.log


def test_dependencies_are_installed_for_torch_but_not_for_unsloth(installed):
    listed = subprocess.run(
        [installed.python, "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        env=installed.env,
        check=True,
    ).stdout
    assert "needle==1.0" in listed and "unsloth==1.0" in listed and "nowhere" not in listed


def test_a_changed_requirement_file_updates_the_environment(installed):
    kept = installed.venv / "kept"
    kept.touch()
    installed.require("torch==2.13.0", "unsloth==1.1")
    answer = installed.run()
    assert (answer.returncode, answer.stdout) == (7, "app [] 2.13.0+cpu 1.1\n")
    assert "Bringing .venv up to date" in answer.stderr and kept.exists()
    assert installed.run().stderr == ""


def test_test_mode_adds_the_test_tools_and_runs_them(installed):
    answer = installed.run("test", "-k", "some")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == f"tests ['-k', 'some'] {installed.folder}\n"
    assert "Bringing .venv up to date" in answer.stderr
    assert "requirements-test.txt" in installed.record.read_text()
    assert installed.run("test").stderr == "" and installed.run().stderr == ""


def lose_record(home: Home) -> None:
    home.record.unlink()


def change_python_version(home: Home) -> None:
    home.record.write_text(home.record.read_text().replace("python 3.", "python 2."))


def lose_python(home: Home) -> None:
    home.python.unlink()


def break_python(home: Home) -> None:
    home.python.unlink()
    home.python.write_text("not a program")


def lose_pip_when_it_is_needed(home: Home) -> None:
    shutil.rmtree(next(home.venv.glob("[Ll]ib/**/site-packages/pip")))
    home.require("torch==2.13.0", "unsloth==1.1")


@posix_only
@pytest.mark.parametrize(
    "damage", [lose_record, change_python_version, lose_python, break_python, lose_pip_when_it_is_needed]
)
def test_a_damaged_environment_is_recreated(installed, damage):
    """Only up to the removal of `.venv`; `test_killed_repeatedly` covers the rest."""
    leftover = installed.venv / "leftover"
    leftover.touch()
    damage(installed)
    stderr = installed.kill_when(lambda: not leftover.exists())
    assert "Removing the existing .venv" in stderr


@contextmanager
def slow_index(wheels: Path):
    """A package index that starts to send a wheel and never finishes.

    Yields its address and an event that is set once it has started to send.
    """
    sending, closing = threading.Event(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if self.path.endswith(".whl"):
                content = (wheels / Path(self.path).name).read_bytes()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:40])
                self.wfile.flush()
                sending.set()
                closing.wait(60)
                return
            name = self.path.strip("/").split("/")[-1]
            links = "".join(f'<a href="/{path.name}">{path.name}</a>' for path in wheels.glob(f"{name}-*.whl"))
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<!DOCTYPE html><html><body>{links}</body></html>".encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple", sending
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@posix_only
def test_killed_repeatedly(installed, wheels):
    """Kill it during a download (after a second start), after .venv is created, and while pip is added to it."""
    offline = dict(installed.env)
    installed.require("torch==2.13.0", "unsloth==1.1")
    second_start = []

    def downloading() -> bool:
        if sending.is_set():
            second_start.append(installed.run())
        return sending.is_set()

    with slow_index(wheels) as (address, sending):
        installed.use_index(address)
        installed.kill_when(downloading)
    assert_refused(second_start[0], "already being set up in this folder")
    assert installed.python.exists() and not installed.record.exists()
    installed.env = offline
    leftover = installed.venv / "leftover"
    for seen in "pyvenv.cfg", "lib/*/site-packages/pip":
        leftover.touch()
        installed.kill_when(lambda seen=seen: not leftover.exists() and any(installed.venv.glob(seen)))
        assert not installed.record.exists()
    answer = installed.run()
    assert (answer.returncode, answer.stdout) == (7, "app [] 2.13.0+cpu 1.1\n")
    assert "Removing the existing .venv" in answer.stderr


@posix_only
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_pip_downloads(installed, wheels, sent, code):
    installed.require("torch==2.13.0", "unsloth==1.1")
    with slow_index(wheels) as (address, sending):
        installed.use_index(address)
        process = subprocess.Popen(installed.command(), env=installed.env, stderr=subprocess.PIPE, text=True)
        assert sending.wait(120)
        process.send_signal(sent)
        stderr = process.communicate(timeout=120)[1]
    assert process.returncode == code and "Traceback" not in stderr
    assert not installed.record.exists()


@posix_only
def test_ctrl_c_reaches_the_app(installed):
    (installed.folder / "app.py").write_text(
        "import time\ntry:\n    print('up', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    raise SystemExit(5)\n"
    )
    process = subprocess.Popen(installed.command(), env=installed.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 5


def entry(home: Home, data: Path, *arguments: str) -> dict[str, str]:
    """The desktop entry that `launch.py shortcut` makes."""
    for name in ("ui/desktop/shortcut.py", "ui/icons/favicon.svg"):
        (home.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE.parent / name, home.folder / name)
    home.env["XDG_DATA_HOME"] = str(data)
    answer = home.run("shortcut", *arguments)
    file = data / "applications" / "hearthtune.desktop"
    printed = f"HearthTune is now in the start menu: {file}\n"
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, printed, "")
    return dict(line.split("=", 1) for line in file.read_text().splitlines()[1:])


@pytest.mark.skipif(sys.platform != "linux", reason="a desktop entry is for Linux")
def test_the_shortcut_starts_the_app_in_a_window(installed, tmp_path):
    made = entry(installed, tmp_path / "data", "--port", "8000")
    command = shlex.split(made["Exec"])  # this folder's name has nothing that shells and desktops read differently
    assert command == [*installed.command("from-shortcut"), "--port", "8000"]
    answer = subprocess.run(command, cwd=made["Path"], env=installed.env, capture_output=True, text=True, timeout=300)
    assert (answer.returncode, answer.stdout) == (7, "app ['--window', '--port', '8000'] 2.13.0+cpu 1.0\n")
    assert Path(made["Path"]) == installed.folder and Path(made["Icon"]).is_file()


@posix_only
@pytest.mark.parametrize("code", [0, 2])
def test_the_terminal_of_a_shortcut_stays_open_after_a_failure(installed, code):
    import pty

    (installed.folder / "app.py").write_text(f"print('the reason')\nraise SystemExit({code})\n")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        installed.command("from-shortcut"), env=installed.env, stdin=theirs, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "the reason\n"
        if code:
            asked = "Press Enter to close this window."
            assert process.stdout.read(len(asked)) == asked and process.poll() is None
            os.write(ours, b"\n")
        assert process.wait(120) == code
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
        os.close(theirs)


def test_no_network(installed):
    installed.require("torch==2.13.0", "unsloth==1.1")
    with socket.socket() as closed:  # bound, not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        installed.use_index("https://packages.invalid/simple")
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
        installed.env |= dict.fromkeys(("HTTPS_PROXY", "https_proxy"), proxy)
        assert_refused(installed.run(), "The package index did not answer", "network", launch.LOG.name)
    assert not installed.record.exists()


def test_a_missing_package_is_not_reported_as_a_network_problem(installed):
    installed.require("torch==2.13.0", "there-is-no-such-thing==1.0")
    assert_refused(installed.run(), "pip could not install a package", "there-is-no-such-thing==1.0", launch.LOG.name)
    assert not installed.record.exists()


TABLE = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI {driver}             Driver Version: {driver}     CUDA Version: 12.2     |
+-----------------------------------------------------------------------------------------+"""
LISTED = "GPU 0: NVIDIA GeForce RTX 3060 (UUID: GPU-1)"


def write_driver(folder: Path, driver: str = "", capability: str = "", table: str = "", listed: str = LISTED) -> Path:
    """An nvidia-smi that lists a card and tells what is given; for the rest it fails, as old versions do."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    answers = {"-L": listed, "--query-gpu=driver_version": driver, "--query-gpu=compute_cap": capability, "": table}
    cases = "".join(f"'{asked}') cat <<'END'\n{text}\nEND\n;;\n" for asked, text in answers.items() if text)
    program.write_text(
        f'#!/bin/sh\ncase "$1" in\n{cases}*) echo "Field is not a valid field to query."; exit 2;;\nesac\n'
    )
    program.chmod(0o755)
    return program


@posix_only
@pytest.mark.parametrize(
    ("answers", "kind", "words"),
    [
        ({"driver": "580.65.06", "capability": "8.6"}, "cuda", "NVIDIA GPU found."),
        ({"driver": "595.10", "capability": "12.0"}, "cuda", "NVIDIA GPU found."),
        ({"driver": "575.64.03", "capability": "8.9"}, "cuda12", "driver 575"),
        ({"driver": "535.104.05\n535.104.05", "capability": "8.6\n6.1"}, "cuda12", "driver 535"),
        ({"driver": "525.60.13", "capability": "7.5"}, "cuda12", "driver 525"),
        ({"driver": "550.54.14"}, "cuda12", "driver 550"),  # no answer about the capability
        ({"table": TABLE.format(driver="535.183.01")}, "cuda12", "driver 535"),
        ({"table": TABLE.format(driver="581.29"), "capability": "[N/A]"}, "cuda", "NVIDIA GPU found."),
        ({"driver": "[Insufficient Permissions]", "table": TABLE.format(driver="560.35.03")}, "cuda12", "driver 560"),
        ({"driver": "580.95.05", "capability": "6.1"}, "cuda12", "generation that CUDA 13 does not support"),
        ({"driver": "580.95.05", "capability": "6.1\n8.6"}, "cuda", "NVIDIA GPU found."),  # the newest card counts
        ({}, "cuda", "version is unknown; CUDA 13 needs 580"),
        ({"listed": "Unable to determine the device handle for GPU1: Unknown Error\n" + LISTED, "driver": "580.1"},
         "cuda", "NVIDIA GPU found."),
        ({"listed": "No devices were found"}, "cpu", "No NVIDIA GPU found."),
        ({"listed": "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95"},
         "cpu", "nvidia-smi fails (Failed to initialize NVML: Driver/library version mismatch), so the CPU is"),
    ],
)  # fmt: skip
def test_the_driver_and_the_card_decide_which_packages_run(tmp_path, monkeypatch, answers, kind, words):
    write_driver(tmp_path / "bin", **answers)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))
    chosen, sentence = launch.choose_set()
    assert (chosen, words in sentence) == (kind, True), sentence


@posix_only
@pytest.mark.parametrize(
    ("answers", "needed"),
    [
        ({"driver": "470.256.02"}, "525"),
        ({"driver": "390.157", "capability": "3.5"}, "525"),
        ({"table": TABLE.format(driver="515.65.01")}, "525"),
        ({"driver": "570.86.16", "capability": "12.0"}, "580"),  # PyTorch's builds for CUDA 12 lack Blackwell
    ],
)
def test_a_driver_that_no_build_can_use_is_refused(home, tmp_path, answers, needed):
    home.env["PATH"] = os.pathsep.join([str(write_driver(tmp_path / "bin", **answers).parent), home.env["PATH"]])
    answer = home.run()
    assert_refused(answer, f"PyTorch needs {needed} or newer", "`python launch.py setup --cpu`")
    assert len(answer.stderr.splitlines()) == 1 and not home.venv.exists()


@posix_only
def test_the_cpu_packages_can_be_chosen(installed, tmp_path):
    """For good: until `setup` is run without it."""
    old = write_driver(tmp_path / "bin", driver="470.256.02")
    installed.env["PATH"] = os.pathsep.join([str(old.parent), installed.env["PATH"]])
    assert_refused(installed.run(), "PyTorch needs 525")
    answer = installed.run("setup", "--cpu")
    assert answer.returncode == 0 and "set cpu" in installed.record.read_text()
    answer = installed.run()
    assert (answer.returncode, answer.stdout, answer.stderr) == (7, "app [] 2.13.0+cpu 1.0\n", "")
    assert_refused(installed.run("setup"), "PyTorch needs 525")
    assert installed.run("setup", "--gpu").stderr == "setup does not take --gpu, only --cpu.\n"


def test_a_card_without_a_driver_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(launch, "PCI_DEVICES", tmp_path)
    for number, alias in enumerate(
        ("pci:v00008086d0000A780sv0sd0bc03sc00i00", "pci:v000010DEd000022BAsv0sd0bc04sc03i00")
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "modalias").write_text(alias + "\n")
    assert launch.choose_set() == ("cpu", "No NVIDIA GPU found.")  # an Intel card, and the sound of an NVIDIA one
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "modalias").write_text("pci:v000010DEd00002504sv00001043sd0000881Dbc03sc00i00\n")
    kind, sentence = launch.choose_set()
    assert kind == "cpu" and "not NVIDIA's driver" in sentence and "install driver 580 or newer" in sentence


@posix_only
def test_an_older_driver_gets_the_torch_for_cuda_12(home, tmp_path, wheels):
    """From PyTorch's index for CUDA 12.6; all else from where pip always looks."""
    index = tmp_path / "index"
    for kind in ("cu126", "cu130", "simple"):
        (index / kind / "torch").mkdir(parents=True)
        make_wheel(index / kind / "torch", "torch", "2.13.0" + (f"+{kind}" if kind != "simple" else ""))
    for folder in [*index.glob("*"), *index.glob("*/torch")]:
        (folder / "index.html").write_text("".join(f'<a href="{path.name}">.</a>' for path in folder.glob("*.whl")))
    text = (home.folder / "launch.py").read_text()
    (home.folder / "launch.py").write_text(text.replace("https://download.pytorch.org/whl", index.as_uri()))
    home.env |= {"PIP_INDEX_URL": (index / "simple").as_uri()}
    del home.env["PIP_NO_INDEX"], home.env["PIP_FIND_LINKS"]
    shutil.copytree(wheels, tmp_path / "wheels", ignore=shutil.ignore_patterns("torch*", "cache"))
    home.env["PIP_FIND_LINKS"] = str(tmp_path / "wheels")
    driver = write_driver(tmp_path / "bin", driver="550.54.14", capability="8.6")
    home.env["PATH"] = os.pathsep.join([str(driver.parent), home.env["PATH"]])
    answer = home.run()
    assert (answer.returncode, answer.stdout) == (7, "app [] 2.13.0+cu126 1.1\n"), answer.stderr
    assert "NVIDIA GPU found, with driver 550; CUDA 13 needs 580. Installing the packages for CUDA 12" in answer.stderr
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not talk to the driver.'; exit 9\n")
    assert home.run().stderr == "" and "set cuda12" in home.record.read_text()  # only `setup` queries the driver again
    stderr = home.kill_when(lambda: not home.record.exists() and (home.venv / "pyvenv.cfg").exists(), "setup")
    assert "Removing the existing .venv" in stderr and "Installing the CPU packages" in stderr
    assert "because nvidia-smi fails (NVIDIA-SMI has failed because it could not talk to the driver)" in stderr


@pytest.fixture
def small_disk(tmp_path):
    """A real 4 MB disk; mounting it needs root on Linux."""
    with tmpfs(tmp_path / "disk", "size=4m") as reason:
        if reason:
            pytest.skip(f"no small disk: {reason}")
        yield tmp_path / "disk"


def test_too_little_disk(small_disk, wheels):
    home = Home(small_disk, wheels)
    assert_refused(home.run(), "needs about 3 GB of free space", "has 0.0 GB")
    assert not home.venv.exists()


def test_the_disk_fills_up_during_installation(small_disk, wheels):
    home = Home(small_disk, wheels)
    text = (small_disk / "launch.py").read_text()
    (small_disk / "launch.py").write_text(text.replace('DISK_GB = {"cpu": 3,', 'DISK_GB = {"cpu": 0,'))
    answer = home.run()
    assert_refused(answer)
    assert not home.record.exists()


def test_a_read_only_folder(small_disk, wheels):
    home = Home(small_disk, wheels)
    subprocess.run(["mount", "-o", "remount,ro,size=8g", small_disk], check=True)
    assert_refused(home.run(), "Read-only file system", "you can write to")


def test_free_disk_space_is_checked(tmp_path):
    launch.check_disk(tmp_path, 0)
    with pytest.raises(SystemExit, match=r"needs about 1e\+06 GB of free space, but this disk has \d+\.\d GB"):
        launch.check_disk(tmp_path, 1_000_000)


@pytest.mark.parametrize("version", [(2, 7), (3, 8), (3, 10), (3, 14), (4, 0)])
def test_unsupported_python_versions_are_refused(version):
    message = r"needs Python 3\.11, 3\.12 or 3\.13, but this is Python {}\.{}".format(*version)
    with pytest.raises(SystemExit, match=message):
        launch.check_python(version)


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_supported_python_versions_are_accepted(version):
    launch.check_python(version)


def test_an_old_python_prints_one_sentence():
    found = [shutil.which(name) for name in ("python3.8", "python3.9", "python3.10")]
    found += Path.home().glob(".pyenv/versions/3.[89].*/bin/python")
    old = [path for path in found if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0]
    if not old:
        pytest.skip("this machine has no older Python")
    for path in old:
        answer = subprocess.run([path, SOURCE], capture_output=True, text=True)
        assert answer.returncode == 1 and answer.stderr.startswith("HearthTune needs Python 3.11")
        assert len(answer.stderr.splitlines()) == 1


def test_without_ensurepip_the_message_names_the_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit, match="sudo apt install python3-venv"):
        launch.make_venv()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n"
            "ERROR: No matching distribution found for gradio",
            "did not answer",
        ),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n"
            "ERROR: Could not find a version that satisfies the requirement gradio==99 (from versions: 5.0, 6.0)\n"
            "ERROR: No matching distribution found for gradio==99",
            "found for gradio==99",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("pip: nothing of note", "it gave no reason"),
    ],
)
def test_a_pip_failure_is_explained_in_one_sentence(output, words):
    sentence = launch.explain(output)
    assert words in sentence and "\n" not in sentence


@pytest.mark.parametrize("name", launch.FILES.values())
def test_launch_can_parse_the_requirement_files(name):
    from packaging.requirements import Requirement

    lines = (line.partition("#")[0].strip() for line in (SOURCE.parent / name).read_text("utf-8").splitlines())
    names = [Requirement(line).name for line in lines if line]
    assert len(names) == len(set(names))
    if name != launch.FILES["test"]:
        assert launch.WITHOUT_DEPENDENCIES | {"torch", "uv"} <= set(names)
