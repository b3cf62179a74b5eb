"""What a container, a batch system or a Space leaves this program of the machine's memory and cores.

The kernel reports the whole machine to every program in it; what a program may use is written in its control groups
(cgroups). A group lies inside others, and the limits of all of them hold: the least counts.

Formats: https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil

ROOT = Path("/")
# Version 1 writes "no limit" as the largest multiple of a page: 8 EiB, less a page.
NO_LIMIT = 1 << 62
# Above memory.high a program is slowed down until it hardly moves.
LIMIT_FILES = [
    ("memory.max", "memory.current"),
    ("memory.high", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
]
UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
BINARY_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class MemoryLimit(NamedTuple):
    """The most that a group of programs may use, and what it uses now without files it could drop; in bytes."""

    limit: int
    used: int


def memory_limits(root: Path = ROOT) -> list[MemoryLimit]:
    """The limits of every group around this program, innermost first, and the Space's; empty where there is none."""
    found = []
    for folder in _groups("memory", root):
        for limit, used in LIMIT_FILES:
            most = _number(folder / limit)
            if 0 < most < NO_LIMIT:
                found.append(MemoryLimit(most, max(_number(folder / used) - _droppable(folder), 0)))
    if of_the_space := _size(os.environ.get("MEMORY", "")):
        found.append(MemoryLimit(of_the_space, psutil.Process().memory_info().rss))
    return found


def total_memory(root: Path = ROOT) -> int:
    """The memory that this program and the others in its groups may use, in bytes."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in memory_limits(root))])


def available_memory(root: Path = ROOT) -> int:
    """The memory that is left for this program, in bytes."""
    left = [max(limit - used, 0) for limit, used in memory_limits(root)]
    return min([psutil.virtual_memory().available, *left])


def usable_cores(root: Path = ROOT) -> int:
    """How many threads can compute at a time. A share of a core counts as a core: 1.5 cores keep two threads busy."""
    shares = [_cores_of_the_process(), *_quotas(root)]
    of_the_space = os.environ.get("CPU_CORES", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", of_the_space) and float(of_the_space):
        shares.append(float(of_the_space))
    return math.ceil(min(shares))


def _cores_of_the_process() -> int:
    """The cores that this process is allowed on: a mask set with taskset, by a batch system, or by a cpuset."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return len(process.cpu_affinity())
    return psutil.cpu_count(logical=True) or 1


def _quotas(root: Path) -> Iterator[float]:
    """The share of cores that each group around this program gets, such as 1.5."""
    for folder in _groups("cpu", root):
        words = _text(folder / "cpu.max").split()
        if len(words) != 2:
            words = [_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        quota, period = (float(word) if re.fullmatch(r"\d+", word) else 0.0 for word in words)
        if quota and period:  # otherwise "max", -1, or a group that has no such limit
            yield quota / period


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the groups around this program that have a controller, innermost first.

    Version 1 has a tree of groups for each controller, version 2 one for all; both can be mounted.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        for mounted, mount_point in _mounts(controller if names else "", root):
            yield from _folders(root / mount_point.lstrip("/"), path, mounted)


def _mounts(controller: str, root: Path) -> Iterator[tuple[str, str]]:
    """Where a tree of groups is mounted: which group of it, and the folder. No controller means version 2.

    The format is in proc_pid_mountinfo(5).
    """
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not dash or len(fields) < 5 or len(kind) < 3:
            continue
        is_version_2 = kind[0] == "cgroup2" and not controller
        if is_version_2 or (kind[0] == "cgroup" and controller and controller in kind[2].split(",")):
            yield fields[3], fields[4].replace("\\040", " ")


def _folders(top: Path, path: str, mounted: str) -> Iterator[Path]:
    """The folders from the group at `path` up to `top`, where the group `mounted` is visible.

    A container often sees only its own group, under another path than the one the kernel reports.
    """
    inside = PurePosixPath(path)
    visible = inside.is_relative_to(mounted) and ".." not in inside.parts
    folder = top / inside.relative_to(mounted) if visible else top
    for group in (folder, *folder.parents):
        yield group
        if group == top:
            return


def _droppable(folder: Path) -> int:
    """Bytes of files that the kernel keeps in memory and drops when programs need it."""
    found = dict(line.split() for line in _text(folder / "memory.stat").splitlines() if len(line.split()) == 2)
    # In version 1 the names with "total_" include the groups inside; version 2 always does.
    names = [(f"total_{name}", name) for name in ("active_file", "inactive_file")]
    return sum(int(found.get(total, found.get(name, 0))) for total, name in names)


def _number(file: Path) -> int:
    text = _text(file)
    return int(text) if text.isdigit() else 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:  # not Linux, or a group without this controller
        return ""


def _size(text: str) -> int:
    """Bytes in a size as a Space writes it into MEMORY, such as 16Gi; 0 for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b?", text.strip().lower())
    return int(float(match[1]) * (BINARY_UNITS if match[3] else UNITS)[match[2]]) if match else 0
