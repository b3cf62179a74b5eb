"""Set up this machine and start HearthTune, using only the standard library.

    python launch.py [ARGS...]         install whatever is missing, then run app.py with ARGS
    python launch.py setup             install only; with --cpu, the packages without CUDA even if there is a card
    python launch.py shortcut [ARGS]   install, then make an entry in the start menu that starts app.py with ARGS
    python launch.py test [ARGS...]    also install the test tools, then run pytest with ARGS

Everything is installed into `.venv` in this folder: uv by pip, and the rest by uv with pip's settings. What uv cannot
install, pip does, which takes three times as long. The last step of an installation writes a record of what was
installed. If the record matches, the app starts right away. If it is missing, the installation was interrupted and is
repeated.

This file must also parse on older Python versions, so that they can print what is needed.
"""

from __future__ import annotations

import ast
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
UV = PYTHON.with_name("uv.exe" if os.name == "nt" else "uv")
RECORD = VENV / "hearthtune-installed.txt"
LOG = VENV / "hearthtune-install.log"
PCI_DEVICES = Path("/sys/bus/pci/devices")
CPU_CHOSEN = "chosen cpu"

# Sets of packages. CUDA 13, which PyPI's torch is built for, needs driver 580 and a card of the Turing generation
# (compute capability 7.5) or newer; PyTorch's own CUDA 12.6 builds run on older drivers and cards, but not on
# Blackwell (10.0 and up). Sources: NVIDIA's "CUDA Minor Version Compatibility", and the CUDA support matrix in
# PyTorch's RELEASE.md.
FILES = {
    "cpu": "requirements-cpu.txt",
    "cuda": "requirements.txt",
    "cuda12": "requirements.txt",
    "test": "requirements-test.txt",
}
DRIVER_FOR_CUDA_13, DRIVER_FOR_CUDA_12 = 580, 525
TURING, BLACKWELL = 7.5, 10.0
SETS = {
    "cpu": "Installing the CPU packages into .venv (about 1.8 GB, 1 minute)...",
    "cuda": "Installing the CUDA packages into .venv (about 6.5 GB, 4 minutes on a fast network)...",
    "cuda12": "Installing the packages for CUDA 12 into .venv (about 6.5 GB, 4 minutes on a fast network)...",
}
DISK_GB = {"cpu": 3, "cuda": 10, "cuda12": 10}  # free space needed: the packages and what is unpacked while installing

# PyPI's torch includes gigabytes of CUDA on Linux and no CUDA on Windows. PyTorch's own indexes
# have the other builds: 2.13.0+cpu ranks above 2.13.0, so it is preferred if it is available.
TORCH = "https://download.pytorch.org/whl"
TORCH_INDEX = {
    ("cpu", "linux"): ("extra-index-url", f"{TORCH}/cpu"),
    ("cuda", "win32"): ("index-url", f"{TORCH}/cu130"),
    ("cuda12", "linux"): ("index-url", f"{TORCH}/cu126"),
    ("cuda12", "win32"): ("index-url", f"{TORCH}/cu126"),
}

# uv reads none of pip's settings, and calls them differently.
UV_OPTIONS = {
    "index-url": "--default-index",
    "cert": "--cert",
    "only-binary": "--only-binary",
    "no-binary": "--no-binary",
    "keyring-provider": "--keyring-provider",
}
UV_OPTIONS_FOR_LISTS = {
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraints",
    "trusted-host": "--allow-insecure-host",
}
PROGRESS = r"^(?:Collecting \S+|Installing collected packages| *Downloaded \S+|(?:Resolved|Prepared) \d+ packages?)"

# Unsloth's metadata requires more than it imports (and a newer certifi than some indexes have),
# so it is installed without its dependencies; the requirement files list those it needs.
WITHOUT_DEPENDENCIES = {"unsloth", "unsloth_zoo"}


def main(args: list[str]) -> int:
    if args[:1] == ["from-shortcut"]:
        return hold_open([sys.executable, str(ROOT / "launch.py"), "--window", *args[1:]])
    check_python(sys.version_info[:2])
    mode = args[0] if args[:1] in (["setup"], ["test"], ["shortcut"]) else "start"
    unknown = set(args[1:]) - {"--cpu"} if mode == "setup" else set()
    if unknown:
        sys.exit(f"setup does not take {unknown.pop()}, only --cpu.")
    try:
        prepare(mode, is_cpu_chosen=mode == "setup" and "--cpu" in args)
    except KeyboardInterrupt:
        say("Stopped. The next start repeats the installation.")
        return 130
    except OSError as error:
        sys.exit(
            f"HearthTune could not write its environment ({error}): move this folder to a place you can write to, "
            "close any HearthTune that is still running from it, then start again."
        )
    if mode == "start":
        return run([str(PYTHON), str(ROOT / "app.py"), *args])
    if mode == "shortcut":
        return run([str(PYTHON), str(ROOT / "ui" / "desktop" / "shortcut.py"), sys.executable, *args[1:]])
    if mode == "test":
        os.chdir(ROOT)
        return run([str(PYTHON), "-m", "pytest", *args[1:]])
    return 0


def check_python(version: tuple) -> None:
    if not (3, 11) <= version <= (3, 13):
        sys.exit(
            "HearthTune needs Python 3.11, 3.12 or 3.13, but this is Python {}.{}: install one of them from "
            "python.org and use it to start HearthTune, for example `python3.12 launch.py`.".format(*version)
        )


def prepare(mode: str, is_cpu_chosen: bool) -> None:
    """Create or update `.venv`. Does nothing if the record says that it is complete."""
    recorded = read_record()
    # Querying the driver can take seconds, so only `setup` checks again once the CUDA packages are installed.
    kept = recorded if mode != "setup" else set()
    is_cpu_chosen = is_cpu_chosen or CPU_CHOSEN in kept
    known = "cpu" if is_cpu_chosen else next((kind for kind in ("cuda", "cuda12") if f"set {kind}" in kept), None)
    kind, found = (known, "") if known else choose_set()
    files = [FILES[kind]] + ([FILES["test"]] if mode == "test" else [])
    base = {"python {}.{}".format(*sys.version_info), f"set {kind}"}  # if these change, .venv is recreated
    wanted = base | {f"{name} {hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}" for name in files}
    wanted |= {CPU_CHOSEN} if is_cpu_chosen else set()
    usable = runs("-c", "")
    if wanted <= recorded and usable:
        if mode == "setup":
            say("Everything is already installed.")
        return

    lock = lock_folder()
    recorded = read_record()  # again: another start may have just finished installing, and the app may run from there
    usable = runs("-c", "")
    if wanted <= recorded and usable:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that pip stops too
    if base <= recorded and usable and runs("-m", "pip", "--version"):
        say("Bringing .venv up to date...")
        RECORD.unlink()
    else:
        remove_venv()
        check_disk(ROOT, DISK_GB[kind])
        say(f"{found} {SETS[kind]}".strip())
        make_venv()
    install(kind, files, lock)
    RECORD.write_text("".join(f"{line}\n" for line in sorted(wanted)), "utf-8")


def read_record() -> set[str]:
    return set(RECORD.read_text("utf-8").splitlines()) if RECORD.is_file() else set()


def choose_set() -> tuple[str, str]:
    """Which set of packages this machine can run, and a sentence with the reason."""
    if not shutil.which("nvidia-smi"):
        if not has_nvidia_card():
            return "cpu", "No NVIDIA GPU found."
        return "cpu", (
            "This computer has an NVIDIA card, but not NVIDIA's driver, so the CPU is used: install driver "
            f"{DRIVER_FOR_CUDA_13} or newer, and the next start installs the CUDA packages."
        )
    listed = nvidia_smi("-L")
    if re.search(r"^GPU \d+:", listed, re.MULTILINE):
        return set_for(driver_version(), compute_capability())
    if re.search(r"no devices", listed, re.IGNORECASE):
        return "cpu", "No NVIDIA GPU found."
    reason = listed.splitlines()[0].strip().rstrip(".")
    return "cpu", (
        f"No NVIDIA GPU found, because nvidia-smi fails ({reason}), so the CPU is used: restart the computer or "
        "install the driver again, and the next start installs the CUDA packages."
    )


def set_for(driver: int | None, capability: float | None) -> tuple[str, str]:
    """The set for this version of the driver and this compute capability, each None if unknown, and the reason.

    Exits if the driver can run none.
    """
    if driver is not None and driver < DRIVER_FOR_CUDA_13:
        needed = DRIVER_FOR_CUDA_13 if (capability or 0) >= BLACKWELL else DRIVER_FOR_CUDA_12
        if driver < needed:
            sys.exit(
                f"The NVIDIA driver is version {driver}, but PyTorch needs {needed} or newer for this card: update the "
                "driver, then start again; to use the CPU instead, run `python launch.py setup --cpu` once."
            )
        return "cuda12", f"NVIDIA GPU found, with driver {driver}; CUDA 13 needs {DRIVER_FOR_CUDA_13}."
    if capability is not None and capability < TURING:
        return "cuda12", "NVIDIA GPU found, of a generation that CUDA 13 does not support."
    unknown = "" if driver else f" Its driver's version is unknown; CUDA 13 needs {DRIVER_FOR_CUDA_13} or newer."
    return "cuda", f"NVIDIA GPU found.{unknown}"


def driver_version() -> int | None:
    """The first number of the driver's version; None if nvidia-smi does not say it."""
    answer = nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader")
    found = re.search(r"^\s*(\d+)\.\d", answer, re.MULTILINE)
    found = found or re.search(r"(?:Driver|KMD) Version\s*:\s*(\d+)\.\d", nvidia_smi())
    return int(found.group(1)) if found else None


def compute_capability() -> float | None:
    """That of the newest card, such as 8.6; None if nvidia-smi does not say it."""
    answer = nvidia_smi("--query-gpu=compute_cap", "--format=csv,noheader")
    return max(map(float, re.findall(r"^\s*(\d+\.\d+)\s*$", answer, re.MULTILINE)), default=None)


def nvidia_smi(*arguments: str) -> str:
    """What nvidia-smi prints, errors included; never empty."""
    command = [shutil.which("nvidia-smi") or "nvidia-smi", *arguments]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout.decode("utf-8", "replace").strip() or f"it exits with code {done.returncode}"


def has_nvidia_card() -> bool:
    """Whether Linux lists a display controller (class 03) by NVIDIA (10DE)."""
    cards = re.compile("pci:v000010DE.*bc03")
    return any(cards.match(file.read_text("ascii")) for file in PCI_DEVICES.glob("*/modalias"))


def runs(*arguments: str) -> bool:
    """Whether the environment's Python runs with these arguments."""
    try:
        return subprocess.run([str(PYTHON), "-I", *arguments], capture_output=True).returncode == 0
    except OSError:
        return False


def lock_folder() -> int | None:
    """Prevent a second setup in this folder until this process and its pip have ended."""
    if os.name == "nt":
        return None  # Windows cannot delete a Python that is running
    import fcntl

    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("HearthTune is already being set up in this folder: wait until that is done, then start again.")
    except OSError:
        pass  # the file system has no locks
    return folder


def remove_venv() -> None:
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        say("Removing the existing .venv: it is incomplete, or was made for another Python or machine...")
        shutil.rmtree(VENV)


def check_disk(folder: Path, needed_gb: float) -> None:
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        sys.exit(
            f"HearthTune needs about {needed_gb:g} GB of free space, but this disk has {free_gb:.1f} GB: free some "
            "space or move this folder to another disk, then start again."
        )


def make_venv() -> None:
    try:
        import ensurepip  # noqa: F401  a separate package on Debian and Ubuntu
        import venv
    except ImportError:
        sys.exit(
            "This Python cannot create virtual environments: install the missing package "
            "(Debian and Ubuntu: `sudo apt install python3-venv`), then start again."
        )
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(VENV)
    except subprocess.CalledProcessError as error:
        LOG.write_bytes(error.output or b"")
        sys.exit(f"Python could not install pip into .venv: reinstall Python, then start again (details: {LOG}).")


def install(kind: str, files: list[str], lock: int | None) -> None:
    text = "\n".join((ROOT / name).read_text("utf-8") for name in files)
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    named = [(re.match(r"[\w.-]+", line).group(), line) for line in lines if line]
    torch = [line for name, line in named if name == "torch"]
    unsloth = [line for name, line in named if name in WITHOUT_DEPENDENCIES]
    installer = Installer(lock)
    installer.get_uv([line for name, line in named if name == "uv"])
    index = TORCH_INDEX.get((kind, sys.platform))
    if index:
        # Alone and without dependencies, so that no other package is looked up in that index.
        installer.add("PyTorch", torch, is_alone=True, index=index)
    installer.add("the libraries", [line for _, line in named if line not in unsloth])
    installer.add("Unsloth", unsloth, is_alone=True)
    installer.compile_page()
    say("installed.", installer.started)


class Installer:
    """Installs packages into `.venv`, with its output in the log."""

    def __init__(self, lock: int | None):
        self.lock = lock
        self.started = time.monotonic()
        self.settings: dict[str, str] | None = None  # pip's, by the option's name; None without uv

    def get_uv(self, requirements: list[str]) -> None:
        if not requirements:
            return
        say("uv...", self.started)
        output = self.run("uv", pip_command(requirements, is_alone=True))
        if output is None:
            self.settings = pip_settings()
        elif is_unreachable(output):
            sys.exit(explain(output))

    def add(self, what: str, requirements: list[str], is_alone: bool = False, index: tuple = ()) -> None:
        """Install these, without their dependencies if `is_alone`, from `index` (pip's option and an address) too.

        Exits if pip cannot either.
        """
        if not requirements:
            return
        commands = [pip_command(requirements, is_alone, index)]
        if self.settings is not None:
            commands.insert(0, uv_command(requirements, self.settings, is_alone, index))
            if index[:1] == ("extra-index-url",):  # pip does without one that does not answer, and uv stops
                commands.insert(1, uv_command(requirements, self.settings, is_alone))
        say(f"{what}...", self.started)
        for command in commands:
            output = self.run(what, command)
            if output is None:
                return
        sys.exit(explain(output))

    def compile_page(self) -> None:
        """Import the page once. Python compiles what it imports; compiling all packages takes over a minute."""
        say("the page...", self.started)
        # If this fails, the start fails as well and says why.
        self.run("the page", [str(PYTHON), "-c", "import ui.page"], "compiling what it imports", cwd=ROOT)

    def run(
        self, what: str, command: list[str], at_first: str = "contacting the package index", cwd: Path | None = None
    ) -> str | None:
        """Run this and print the progress every 15 seconds. Returns its output if it failed."""
        with LOG.open("ab") as log:
            log_start = log.tell()

            def output() -> str:
                return LOG.read_bytes()[log_start:].decode("utf-8", "replace").strip()

            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment(self.settings or {}),
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=() if self.lock is None else (self.lock,),
            )
            try:
                while process.poll() is None:
                    try:
                        process.wait(timeout=15)
                    except subprocess.TimeoutExpired:
                        steps = re.findall(PROGRESS, output(), re.MULTILINE)
                        say(f"{what}: {steps[-1].strip() if steps else at_first}", self.started)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
            return output() if process.returncode else None


def pip_command(requirements: list[str], is_alone: bool, index: tuple = ()) -> list[str]:
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--no-compile"]
    options += ["--no-deps"] * is_alone + (["--{}={}".format(*index)] if index else [])
    return [str(PYTHON), "-m", "pip", "install", *options, *requirements]


def uv_command(requirements: list[str], settings: dict[str, str], is_alone: bool, index: tuple = ()) -> list[str]:
    """What `pip_command` does, with uv and these settings of pip's."""
    if index:
        name, address = index
        settings = settings | {name: f"{settings.get(name, '')} {address}" if name in UV_OPTIONS_FOR_LISTS else address}
    # As pip, take the best version of all indexes, and trust the system's certificates.
    options = [f"--python={PYTHON}", "--index-strategy=unsafe-best-match", "--color=never"]
    options += ["--no-deps"] * is_alone + ["--system-certs"] * ("cert" not in settings)
    options += ["--no-index"] * (settings.get("no-index", "").lower() in ("1", "true", "yes", "on", "y", "t"))
    options += [f"{option}={settings[name]}" for name, option in UV_OPTIONS.items() if name in settings]
    for name, option in UV_OPTIONS_FOR_LISTS.items():
        options += [f"{option}={value}" for value in settings.get(name, "").split()]
    return [str(UV), "pip", "install", *options, *requirements]


def pip_settings() -> dict[str, str]:
    """What pip's files and variables set for `pip install`, by the option's name."""
    command = [str(PYTHON), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, errors="replace").stdout
    sections = ("global", "install", ":env:")  # each overrides the ones before
    found = re.findall(r"^(global|install|:env:)\.([\w-]+)=(.+)$", listed, re.MULTILINE)
    found.sort(key=lambda setting: sections.index(setting[0]))
    settings = {name: ast.literal_eval(value) for _, name, value in found if ast.literal_eval(value)}
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")  # pip's HTTP library reads these
    return ({"cert": bundle} if bundle else {}) | settings


def environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's, with pip's proxy, and without what would keep Python from writing what it compiles."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if "proxy" in settings:
        variables |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), settings["proxy"])
    return variables


def explain(output: str) -> str:
    """One sentence that explains why pip failed, from its output."""
    if "No space left on device" in output:
        return f"The disk is full: free some space, then start again (details: {LOG})."
    if is_unreachable(output):
        return f"The package index did not answer: check your network (or proxy), then start again (details: {LOG})."
    errors = re.findall(r"^ERROR: (.+)", output, re.MULTILINE) or ["it gave no reason"]
    return f"pip could not install a package ({errors[-1].strip()}): see {LOG}, then start again."


def is_unreachable(output: str) -> bool:
    """Whether pip failed because the index did not answer."""
    broken = re.search(
        r"connection broken by|Max retries exceeded|timed out|ConnectionResetError|"
        r"IncompleteRead|not enough bytes|ProxyError",
        output,
    )
    answered = re.search(r"from versions: (?!none)", output)  # an index has the package, but other versions of it
    return bool(broken and not answered)


def run(command: list[str]) -> int:
    """Replace this process with the command, so that its signals and exit code are passed on."""
    if os.name != "nt":
        os.execv(command[0], command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows cannot replace a process; Ctrl-C reaches both
    return subprocess.call(command)


def hold_open(command: list[str]) -> int:
    """Run what an entry in the start menu starts; after a failure, keep its terminal open until the reason was read."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command, which gets it as well
    code = subprocess.call(command)
    if code and sys.stdin.isatty():
        input("Press Enter to close this window.")
    return code


def say(line: str, started: float | None = None) -> None:
    """Print to stderr; stdout is only for the app's output."""
    if started is not None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        line = f"  {minutes}:{seconds:02} {line}"
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
