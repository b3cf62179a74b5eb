"""Set up this machine and start HearthTune, with the standard library alone.

    python launch.py [ARGS...]         install what is missing, then run app.py with ARGS
    python launch.py setup             install only
    python launch.py test [ARGS...]    install the test tools as well, then run pytest with ARGS

Everything goes into `.venv` beside this file. A record written at the very end of an
installation says what is in there: while it matches, a start goes straight to the app;
where it is missing, the installation was interrupted and is made anew.

It knows nothing of the app. It must also parse on old Pythons, to tell them what to do.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
RECORD = VENV / "hearthtune-installed.txt"
LOG = VENV / "hearthtune-install.log"

FILES = {"cpu": "requirements-cpu.txt", "cuda": "requirements.txt", "test": "requirements-test.txt"}
FOUND = {
    "cpu": "No NVIDIA GPU found. Installing the CPU set into .venv (about 1.8 GB, 2 minutes)...",
    "cuda": "NVIDIA GPU found. Installing the CUDA set into .venv (about 6.5 GB, 4 minutes on a fast line)...",
}
DISK_GB = {"cpu": 3, "cuda": 10}  # free space to start with: the set, and what pip unpacks on the way

# PyPI's torch brings gigabytes of CUDA on Linux and none at all on Windows. PyTorch's own
# indexes have the others: 2.13.0+cpu ranks above 2.13.0, so pip prefers it where it is to be had.
TORCH_INDEX = {
    ("cpu", "linux"): ["--extra-index-url", "https://download.pytorch.org/whl/cpu"],
    ("cuda", "win32"): ["--index-url", "https://download.pytorch.org/whl/cu130"],
}

# Unsloth's metadata asks for more than it imports (and for a certifi newer than some indexes
# have), so it goes in without its dependencies; the requirement files name those it needs.
WITHOUT_DEPENDENCIES = {"unsloth", "unsloth_zoo"}


def main(args: list[str]) -> int:
    check_python(sys.version_info[:2])
    mode = args[0] if args[:1] in (["setup"], ["test"]) else "start"
    try:
        prepare(mode)
    except KeyboardInterrupt:
        say("Stopped. The next start begins the installation again.")
        return 130
    except OSError as error:
        sys.exit(
            f"HearthTune could not write its environment ({error}): put this folder where you may write, "
            "close any HearthTune that still runs from it, then start again."
        )
    if mode == "start":
        return run([str(PYTHON), str(ROOT / "app.py"), *args])
    if mode == "test":
        os.chdir(ROOT)
        return run([str(PYTHON), "-m", "pytest", *args[1:]])
    return 0


def check_python(version: tuple) -> None:
    if not (3, 11) <= version <= (3, 13):
        sys.exit(
            "HearthTune needs Python 3.11, 3.12 or 3.13 and this is {}.{}: install one of them from "
            "python.org and start with it, for example `python3.12 launch.py`.".format(*version)
        )


def prepare(mode: str) -> None:
    """Leave a complete `.venv` behind. Does nothing when the record says it is one already."""
    recorded = set(RECORD.read_text("utf-8").splitlines()) if RECORD.is_file() else set()
    # Asking the driver takes up to seconds: a CUDA set that is there is only doubted by `setup`.
    known = mode != "setup" and "set cuda" in recorded
    kind = "cuda" if known or has_nvidia_gpu() else "cpu"
    files = [FILES[kind]] + ([FILES["test"]] if mode == "test" else [])
    base = {"python {}.{}".format(*sys.version_info), f"set {kind}"}  # where these change, .venv is made anew
    wanted = base | {f"{name} {hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}" for name in files}
    usable = runs("-c", "")
    if wanted <= recorded and usable:
        if mode == "setup":
            say("Everything is installed already.")
        return

    lock = lock_folder()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that pip is stopped with us
    if base <= recorded and usable and runs("-m", "pip", "--version"):
        say("Bringing .venv up to date...")
        RECORD.unlink()
    else:
        remove_venv()
        check_disk(ROOT, DISK_GB[kind])
        say(FOUND[kind])
        make_venv()
    install(kind, files, lock)
    RECORD.write_text("".join(f"{line}\n" for line in sorted(wanted)), "utf-8")


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver is there and lists a GPU."""
    command = shutil.which("nvidia-smi")
    if not command:
        return False
    try:
        answer = subprocess.run([command, "-L"], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and re.search(rb"^GPU \d+:", answer.stdout, re.MULTILINE) is not None


def runs(*arguments: str) -> bool:
    """Whether the environment's Python runs with these arguments."""
    try:
        return subprocess.run([str(PYTHON), "-I", *arguments], capture_output=True).returncode == 0
    except OSError:
        return False


def lock_folder() -> int | None:
    """Keep a second set-up out until this process and its pip have ended."""
    if os.name == "nt":
        return None  # Windows does not delete a Python that is running
    import fcntl

    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("HearthTune is being set up in this folder already: wait until that is done, then start again.")
    except OSError:
        pass  # a file system without locks
    return folder


def remove_venv() -> None:
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        say("Removing the .venv that is here: it is incomplete, or made for another Python or machine...")
        shutil.rmtree(VENV)


def check_disk(folder: Path, needed_gb: float) -> None:
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        sys.exit(
            f"HearthTune needs about {needed_gb:g} GB free and this disk has {free_gb:.1f} GB: make room "
            "or move this folder to another disk, then start again."
        )


def make_venv() -> None:
    try:
        import ensurepip  # noqa: F401  Debian and Ubuntu package it apart
        import venv
    except ImportError:
        sys.exit(
            "This Python cannot make environments: install the missing part "
            "(Debian and Ubuntu: `sudo apt install python3-venv`), then start again."
        )
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(VENV)
    except subprocess.CalledProcessError as error:
        LOG.write_bytes(error.output or b"")
        sys.exit(f"Python could not put pip into .venv: reinstall Python, then start again (details: {LOG}).")


def install(kind: str, files: list[str], lock: int | None) -> None:
    started = time.monotonic()
    text = "\n".join((ROOT / name).read_text("utf-8") for name in files)
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    named = [(re.match(r"[\w.-]+", line).group(), line) for line in lines if line]
    torch = [line for name, line in named if name == "torch"]
    unsloth = [line for name, line in named if name in WITHOUT_DEPENDENCIES]
    index = TORCH_INDEX.get((kind, sys.platform))
    if index:
        # By itself and without dependencies, so that nothing else comes from, or waits for, that index.
        pip("PyTorch", ["--no-deps", *index], torch, started, lock)
    pip("the libraries", [], [line for _, line in named if line not in unsloth], started, lock)
    pip("Unsloth", ["--no-deps"], unsloth, started, lock)
    say("installed.", started)


def pip(what: str, options: list[str], requirements: list[str], started: float, lock: int | None) -> None:
    """Run `pip install`, its output in the log; say every 15 seconds how far it is."""
    if not requirements:
        return
    say(f"{what}...", started)
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        *options,
        *requirements,
    ]
    with LOG.open("ab") as log:
        begin = log.tell()

        def output() -> str:
            return LOG.read_bytes()[begin:].decode("utf-8", "replace").strip()

        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, pass_fds=() if lock is None else (lock,)
        )
        try:
            while process.poll() is None:
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    doing = re.findall(r"^Collecting \S+|^Installing collected packages", output(), re.MULTILINE)
                    say(f"{what}: {doing[-1] if doing else 'asking the package index'}", started)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode:
            sys.exit(explain(output()))


def explain(output: str) -> str:
    """One sentence for a failed pip, from what it printed."""
    if "No space left on device" in output:
        return f"The disk is full: make room, then start again (details: {LOG})."
    unreachable = re.search(
        r"connection broken by|Max retries exceeded|timed out|ConnectionResetError|"
        r"IncompleteRead|not enough bytes|ProxyError",
        output,
    )
    answered = re.search(r"from versions: (?!none)", output)  # some index knew the package, in other versions
    if unreachable and not answered:
        return f"The package index did not answer: check the network (or proxy), then start again (details: {LOG})."
    errors = re.findall(r"^ERROR: (.+)", output, re.MULTILINE) or ["it gave no reason"]
    return f"pip could not install a package ({errors[-1].strip()}): see {LOG}, then start again."


def run(command: list[str]) -> int:
    """Become the command, so that its signals and exit code are ours."""
    if os.name != "nt":
        os.execv(command[0], command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows cannot replace a process; Ctrl-C reaches both
    return subprocess.call(command)


def say(line: str, started: float | None = None) -> None:
    """Tell the person, on stderr: the app's own output stays clean."""
    if started is not None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        line = f"  {minutes}:{seconds:02} {line}"
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
