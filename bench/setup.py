"""Seconds that `launch.py setup` takes with uv and with pip alone, and seconds to the first page and to later ones.

    python -m bench.setup

Each of the two sets up a copy of the project in a temporary folder, from the package index and with empty caches.

The bars: uv at most 0.4 times pip's time; the first page at most 1.3 times a later one.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import launch
from bench.common import PROJECT, bench_command, free_port, page_command, report, served

LATER_STARTS = 3


def set_up(folder: Path, with_uv: bool) -> float:
    """Copies the project to `folder` and returns the seconds that its set-up takes."""
    parts = ("app.py", "launch.py", "core", "ui", "presets", *set(launch.FILES.values()))
    (folder / "app").mkdir()
    for part in parts:
        copy = shutil.copytree if (PROJECT / part).is_dir() else shutil.copy
        copy(PROJECT / part, folder / "app" / part)
    for compiled in list((folder / "app").rglob("__pycache__")):
        shutil.rmtree(compiled)
    if not with_uv:
        for file in (folder / "app").glob("requirements*.txt"):
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            file.write_text("".join(line for line in lines if not line.startswith("uv>=")), encoding="utf-8")
    caches = {"PIP_CACHE_DIR": str(folder / "pip"), "UV_CACHE_DIR": str(folder / "uv")}
    began = time.monotonic()
    subprocess.run([sys.executable, "launch.py", "setup"], cwd=folder / "app", env=os.environ | caches, check=True)
    return time.monotonic() - began


def seconds_until_page(folder: Path) -> float:
    port, began = free_port(), time.monotonic()
    python = folder / "app" / launch.PYTHON.relative_to(launch.ROOT)
    with served(page_command(port, folder / "runs"), port, python, folder / "app"):
        return time.monotonic() - began


@bench_command(__doc__)
def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # later starts would compile again what only the page imports
    seconds = {}
    for tool in ("uv", "pip"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            seconds[tool] = set_up(folder, with_uv=tool == "uv")
            first_s, *later_s = [seconds_until_page(folder) for _ in range(1 + LATER_STARTS)]
            later = statistics.median(later_s)
            report(f"first page after {tool}", first_s=first_s, later_s=later, ratio=first_s / later)
    report("setup", uv_s=seconds["uv"], pip_s=seconds["pip"], ratio=seconds["uv"] / seconds["pip"])


if __name__ == "__main__":
    main()
