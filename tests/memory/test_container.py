"""Limits of containers, batch systems and Spaces: trees of control groups as the kernel shows them, and a real one."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.disk.sizes import GIB
from core.memory.container import MemoryLimit, available_memory, memory_limits, total_memory, usable_cores
from core.memory.hardware import detect_machine, sample_memory
from tests.conftest import PROJECT

V1_NONE = "9223372036854771712"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
UNIFIED = "31 23 0:28 {root} /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"


@pytest.fixture(autouse=True)
def without_a_space(monkeypatch):
    for name in ("CPU_CORES", "MEMORY"):
        monkeypatch.delenv(name, raising=False)


def machine(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> Path:
    """A root folder in which a kernel shows these groups."""
    for name, text in {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    return root


def test_version_2_in_a_container(tmp_path):
    """Docker, Podman and Kubernetes: the container sees its own group as the root."""
    stat = "anon 700000000\nfile 900000000\ninactive_file 200000000\nactive_file 100000000\nshmem 5"
    root = machine(
        tmp_path,
        "0::/",
        UNIFIED.format(root="/"),
        {
            "sys/fs/cgroup/memory.max": str(2 * GIB),
            "sys/fs/cgroup/memory.current": "1500000000",
            "sys/fs/cgroup/memory.stat": stat,
            "sys/fs/cgroup/cpu.max": "150000 100000",
        },
    )
    assert memory_limits(root) == [MemoryLimit(2 * GIB, 1_200_000_000)]
    assert (total_memory(root), available_memory(root)) == (2 * GIB, 2 * GIB - 1_200_000_000)
    assert usable_cores(root) == min(2, os.cpu_count())


def test_the_least_of_nested_groups_counts(tmp_path):
    """A service of systemd inside a slice: each has limits of its own, some of them none."""
    folder = "sys/fs/cgroup/work.slice"
    root = machine(
        tmp_path,
        "0::/work.slice/hearth.service/worker",
        UNIFIED.format(root="/"),
        {
            f"{folder}/memory.max": str(3 * GIB),
            f"{folder}/memory.current": str(2 * GIB),
            f"{folder}/cpu.max": "50000 100000",
            f"{folder}/hearth.service/memory.max": str(4 * GIB),
            f"{folder}/hearth.service/memory.current": str(GIB),
            f"{folder}/hearth.service/cpu.max": "max 100000",
            f"{folder}/hearth.service/worker/memory.max": "max",
            f"{folder}/hearth.service/worker/memory.high": str(5 * GIB),
            f"{folder}/hearth.service/worker/memory.current": str(GIB),
        },
    )
    assert memory_limits(root) == [
        MemoryLimit(5 * GIB, GIB), MemoryLimit(4 * GIB, GIB), MemoryLimit(3 * GIB, 2 * GIB)
    ]  # fmt: skip
    assert (total_memory(root), available_memory(root)) == (3 * GIB, GIB)
    assert usable_cores(root) == 1, "half a core keeps one thread busy"


def test_version_1_in_a_container(tmp_path):
    """Docker on an older system: the kernel names the group from outside, the container sees it as the root."""
    group = "/docker/8d1f"
    root = machine(
        tmp_path,
        f"4:memory:{group}\n2:cpu,cpuacct:{group}\n0::/",
        HYBRID.format(root=group),
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB // 2),
            "sys/fs/cgroup/memory/memory.stat": (
                f"inactive_file 1\ntotal_inactive_file {GIB // 8}\ntotal_active_file {GIB // 8}"
            ),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "90000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
    )
    assert memory_limits(root) == [MemoryLimit(GIB, GIB // 4)]
    assert usable_cores(root) == 1


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files"),
    [
        ("", "", {}),  # macOS and Windows have none of it
        ("0::/a", UNIFIED.format(root="/"), {"sys/fs/cgroup/a/memory.max": "max", "sys/fs/cgroup/a/cpu.max": "max 1"}),
        ("0::/a", UNIFIED.format(root="/"), {"sys/fs/cgroup/a/memory.max": "", "sys/fs/cgroup/a/cpu.max": "max"}),
        ("4:memory:/\n1:cpu:/", HYBRID.format(root="/"), {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": V1_NONE,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        }),
    ],
)  # fmt: skip
def test_without_a_limit_it_is_the_machine(tmp_path, cgroup, mounts, files):
    root = machine(tmp_path, cgroup, mounts, files)
    assert memory_limits(root) == []
    assert total_memory(root) == psutil.virtual_memory().total
    assert usable_cores(root) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("path", ["/../../other", "/elsewhere"])
def test_a_group_that_is_not_visible_is_looked_up_where_groups_are_mounted(tmp_path, path):
    root = machine(tmp_path, f"0::{path}", UNIFIED.format(root="/kubepods/x"), {"sys/fs/cgroup/memory.max": str(GIB)})
    assert memory_limits(root) == [MemoryLimit(GIB, 0)]


@pytest.mark.parametrize(
    ("memory", "gib"), [("15Gi", 15), ("1.5Gi", 1.5), ("512Mi", 0.5), ("2G", 2e9 / GIB), ("2GB", 2e9 / GIB)]
)
def test_the_memory_of_a_space(tmp_path, monkeypatch, memory, gib):
    monkeypatch.setenv("MEMORY", memory)
    assert total_memory(tmp_path) == min(gib * GIB, psutil.virtual_memory().total)
    stats, available = sample_memory(), available_memory()
    assert stats.total_gib == total_memory() / GIB
    assert available < gib * GIB, "what this program uses is not available"


@pytest.mark.parametrize("memory", ["", "a lot", "0Gi", "-3Gi", "512"])
def test_other_uses_of_that_variable_are_no_limit(tmp_path, monkeypatch, memory):
    monkeypatch.setenv("MEMORY", memory)
    assert memory_limits(tmp_path) == []


@pytest.mark.parametrize(
    ("cores", "threads"), [("1", 1), ("0.5", 1), ("1.5", 2), ("900", None), ("0", None), ("x", None)]
)
def test_the_cores_of_a_space(tmp_path, monkeypatch, cores, threads):
    monkeypatch.setenv("CPU_CORES", cores)
    own = len(os.sched_getaffinity(0))
    assert usable_cores(tmp_path) == min(threads or own, own)


REPORT = """
from core.memory.cards import this_machine
from core.memory.hardware import detect_machine, sample_memory
machine, memory = detect_machine(), sample_memory()
print(machine.name, machine.total_gib, memory.total_gib, this_machine(machine).memory_gib, memory.in_use_gib, sep="|")
"""


def report(**options) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT], cwd=PROJECT, capture_output=True, text=True, check=True, **options
    )
    return done.stdout.strip().split("|")


@pytest.mark.skipif(detect_machine().is_gpu, reason="this machine has a GPU")
def test_an_affinity_mask_limits_the_cores():
    one = {min(os.sched_getaffinity(0))}
    assert report(preexec_fn=lambda: os.sched_setaffinity(0, one))[0].startswith("CPU, 1 ")


@pytest.mark.skipif(detect_machine().is_gpu, reason="this machine has a GPU")
def test_a_real_group():
    """The estimate, the bar and the number of threads of a program in a group with 1 GiB and half a core."""
    if not Path("/sys/fs/cgroup/memory/cgroup.procs").exists() or os.geteuid() != 0:
        pytest.skip("making a control group here needs version 1 and root")
    groups = [Path(f"/sys/fs/cgroup/{kind}/hearthtune-{os.getpid()}/inner") for kind in ("memory", "cpu")]
    for group in groups:
        group.mkdir(parents=True)
    (groups[0].parent / "memory.limit_in_bytes").write_text(str(GIB))
    (groups[1].parent / "cpu.cfs_quota_us").write_text("50000")
    try:
        found = report(preexec_fn=lambda: [(group / "cgroup.procs").write_text(str(os.getpid())) for group in groups])
    finally:
        for group in groups:
            group.rmdir()
            group.parent.rmdir()
    assert found[0].startswith("CPU, 1 ")
    assert [float(figure) for figure in found[1:4]] == [1.0, 1.0, 1.0]
    assert 0 < float(found[4]) < 0.5, "only what the group uses"
