"""The machine these tests run on, asked in two ways."""

import os
import subprocess
import sys

import psutil
import pytest

from core.disk.sizes import GIB
from core.memory.hardware import MemoryMonitor, MemoryStats, detect_machine, sample_memory
from tests.conftest import PROJECT

WITHOUT_TORCH = """
import sys
from core.memory.hardware import detect_machine, sample_memory
print(detect_machine().model_dump_json(), sample_memory().total_gib, "torch" in sys.modules, sep="\\n")
"""


@pytest.fixture
def on_a_cpu():
    if detect_machine().is_gpu:
        pytest.skip("this machine has a GPU")


def test_the_processor_and_its_memory(on_a_cpu):
    machine = detect_machine()
    assert machine.name == f"CPU, {os.cpu_count()} {os.uname().machine} cores"
    assert machine.total_gib == psutil.virtual_memory().total / 2**30


def test_memory_on_a_cpu_adds_up(on_a_cpu):
    stats = sample_memory()
    assert stats.total_gib == psutil.virtual_memory().total / 2**30
    assert stats.in_use_gib + stats.available_gib == pytest.approx(stats.total_gib)
    assert 0 < stats.used_by_us_gib == stats.process_gib < stats.in_use_gib
    gpu_only = ("allocated_gib", "reserved_gib", "peak_reserved_gib", "utilization", "temperature", "power")
    assert [getattr(stats, name) for name in gpu_only] == [None] * 6


def test_our_memory_counts_what_we_take(on_a_cpu):
    before = sample_memory().used_by_us_gib
    block = bytearray(os.urandom(1 << 20) * 256)
    assert sample_memory().used_by_us_gib - before > 0.2
    assert len(block) / GIB == 0.25


def test_on_a_gpu_reserved_memory_is_ours():
    stats = MemoryStats(total_gib=8, in_use_gib=5, available_gib=3, process_gib=2, peak_process_gib=2, reserved_gib=4)
    assert stats.used_by_us_gib == 4


def test_the_machine_is_known_before_torch_is_there():
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    machine, total, torch_is_there = answer.stdout.splitlines()
    assert machine == detect_machine().model_dump_json() and torch_is_there == "False"
    assert float(total) == sample_memory().total_gib


def test_the_monitor_reports_until_it_is_left(wait_until):
    told = []
    with MemoryMonitor(told.append, interval=0.001) as monitor:
        wait_until(lambda: len(told) >= 5, "five samples")
    count = len(told)
    assert not monitor._thread.is_alive()
    assert monitor.peak_gib == max(stats.used_by_us_gib for stats in told)
    assert len(told) == count and all(isinstance(stats, MemoryStats) for stats in told)


def test_a_short_stay_is_sampled_at_both_ends():
    told = []
    with MemoryMonitor(told.append, interval=3600):
        pass
    assert len(told) in (1, 2) and told


@pytest.mark.gpu
def test_the_peak_of_what_ran_before_is_not_the_monitors(unsloth):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    torch.empty(1 << 30, dtype=torch.uint8, device="cuda")  # let go at once
    torch.cuda.empty_cache()
    assert sample_memory().peak_reserved_gib >= 1
    with MemoryMonitor(lambda stats: None) as monitor:
        kept = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    assert 0.25 <= monitor.peak_gib < 1 and len(kept) == 1 << 28


@pytest.mark.gpu
def test_the_card(unsloth):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    machine = detect_machine()
    assert machine.is_gpu and machine.name == torch.cuda.get_device_name(0)
    block = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
    stats = sample_memory()
    assert stats.allocated_gib >= 0.25 and stats.allocated_gib <= stats.reserved_gib <= stats.peak_reserved_gib
    assert stats.in_use_gib >= stats.reserved_gib and len(block) == 1 << 28
