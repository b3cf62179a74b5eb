"""The machine these tests run on, asked in two ways."""

import os
import subprocess
import sys

import psutil
import pynvml
import pytest

from core.disk.sizes import GIB
from core.memory.hardware import (
    MemoryMonitor,
    MemoryStats,
    _nvml_device,
    detect_machine,
    sample_memory,
    unused_card,
)
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


@pytest.fixture
def card(monkeypatch, unsloth):
    """A card that the driver lists and torch cannot use: its driver is 535.104.05, for CUDA 12.2."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("torch can use the card of this machine")
    answers = {
        "nvmlInit": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": object(),
        "nvmlDeviceGetName": "NVIDIA GeForce RTX 3060",
        "nvmlSystemGetDriverVersion": "535.104.05",
        "nvmlSystemGetCudaDriverVersion_v2": 12020,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _nvml_device.cache_clear()
    yield torch
    _nvml_device.cache_clear()


@pytest.mark.parametrize(
    ("built_for", "variable", "words"),
    [
        ("13.0", None, ("driver 535.104.05 is too old", "CUDA 13.0", "update the driver", "launch.py setup")),
        ("13.2", "0", ("driver 535.104.05 is too old", "CUDA 13.2")),
        ("12.6", "", ("CUDA_VISIBLE_DEVICES ('') hides it",)),
        ("12.6", None, ("torch cannot use it (", "restart")),
        (None, None, ("built without CUDA", "launch.py setup")),
    ],
)
def test_an_unused_card_is_explained(card, monkeypatch, built_for, variable, words):
    monkeypatch.setattr(card.version, "cuda", built_for)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    sentence = unused_card()
    assert sentence.startswith("The CPU is used instead of the NVIDIA GeForce RTX 3060, because ")
    assert [word for word in words if word not in sentence] == []
    assert sentence.endswith(".") and "\n" not in sentence


def test_a_driver_that_fails_is_named(card, monkeypatch):
    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert unused_card().startswith("The NVIDIA driver does not work (RM has detected an NVML/RM version mismatch), so")


def test_without_a_driver_there_is_no_card_to_miss(unsloth):
    if detect_machine().is_gpu:
        pytest.skip("this machine has a GPU")
    assert unused_card() == ""


def test_an_unused_card_is_named_in_the_terminal_once_and_on_the_page(card, capsys, tmp_path, wait_until):
    import gradio as gr

    from core.model.unsloth_start import _warn_of_unused_card
    from core.workbench.workbench import Workbench
    from ui.sidebar import Sidebar

    _warn_of_unused_card.cache_clear()
    workbench = Workbench(tmp_path / "runs")
    with gr.Blocks():
        sidebar = Sidebar(workbench)
    for _ in range(2):
        workbench.warm_up()
        wait_until(lambda: workbench.is_warm, "the libraries")
    _warn_of_unused_card.cache_clear()
    assert capsys.readouterr().err == unused_card() + "\n"
    assert f'<p class="bad">{unused_card()}</p>' in sidebar.live()[sidebar.machine]["value"]


def test_torch_uses_no_more_threads_than_there_are_cores(unsloth, monkeypatch):
    import torch

    from core.model.unsloth_start import import_unsloth
    from core.threads import in_own_thread

    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(8)
        monkeypatch.setenv("CPU_CORES", "1.5")
        import_unsloth()
        assert in_own_thread(torch.get_num_threads) == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        torch.set_num_threads(5)
        import_unsloth()
        assert torch.get_num_threads() == 5, "chosen by the person"
    finally:
        torch.set_num_threads(before)
