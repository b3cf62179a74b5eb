"""Which machine this is, and how much of its memory is in use.

Does not import torch, so that the page can name the card while the libraries are still loading: the device is read
through NVML, and torch's own figures are used only once something else has imported it.
"""

import os
import platform
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import psutil
import pynvml
from pydantic import BaseModel

from core.disk.sizes import GIB
from core.memory.container import available_memory, total_memory, usable_cores
from core.problems import first_line, mark, tr

# Why a card is not used, and the way out.
BROKEN_DRIVER = mark(
    "The NVIDIA driver does not work ({reason}), so the CPU is used: restart the computer or install the driver again."
)
WITHOUT_CUDA = mark(
    "The CPU is used instead of the {card}, because this torch is built without CUDA: run `python launch.py setup`, "
    "which installs one for the card."
)
OLD_DRIVER = mark(
    "The CPU is used instead of the {card}, because its driver {driver} is too old for this torch, which is built for "
    "CUDA {cuda}: update the driver, or run `python launch.py setup`, which installs a torch that the driver can run."
)
HIDDEN = mark(
    "The CPU is used instead of the {card}, because the variable CUDA_VISIBLE_DEVICES ({value!r}) hides it: unset that "
    "to use the card."
)
REFUSED = mark(
    "The CPU is used instead of the {card}, because torch cannot use it ({reason}): restart the computer or install "
    "the driver again."
)


class Machine(BaseModel, frozen=True):
    """The GPU, or the processor if there is none: its name, and in GiB its memory (a container's, inside one)."""

    name: str
    is_gpu: bool
    total_gib: float


class MemoryStats(BaseModel, frozen=True):
    """Memory at one moment, in GiB. None means that the machine does not have or report it.

    On a GPU: `allocated`, `reserved` and `peak_reserved` by this program's torch; `in_use` on the whole device;
    `utilization` in percent, `temperature` in °C, `power` in W. On a CPU: `process` is this program's resident memory,
    `peak_process` its maximum so far, `in_use` that of all programs, and `available` what is left for new ones.
    """

    total_gib: float
    in_use_gib: float
    available_gib: float
    process_gib: float
    peak_process_gib: float
    allocated_gib: float | None = None
    reserved_gib: float | None = None
    peak_reserved_gib: float | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None

    @property
    def used_by_us_gib(self) -> float:
        """This program's memory: reserved on a GPU, resident on a CPU."""
        return self.process_gib if self.reserved_gib is None else self.reserved_gib


@cache
def _nvml_device():
    """The first NVIDIA device, or None if there is no driver or no card."""
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByIndex(0) if pynvml.nvmlDeviceGetCount() else None
    except pynvml.NVMLError:
        return None


def _loaded_torch():
    """torch if something else has imported all of it, else None."""
    torch = sys.modules.get("torch")
    # While torch is being imported, its module exists but is incomplete.
    return torch if torch is not None and hasattr(torch, "cuda") and hasattr(torch, "compile") else None


def _device():
    """The NVML handle of the card to train on; None on a CPU, or if torch cannot use the card."""
    torch = _loaded_torch()
    if torch is None or _nvml_device() is None:
        return _nvml_device()
    if not torch.cuda.is_available():
        return None
    # NVML orders cards differently from torch, and ignores CUDA_VISIBLE_DEVICES.
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")


def detect_machine() -> Machine:
    """The GPU to train on, or the processor."""
    device = _device()
    if device is not None:
        name = pynvml.nvmlDeviceGetName(device)
        return Machine(name=name, is_gpu=True, total_gib=pynvml.nvmlDeviceGetMemoryInfo(device).total / GIB)
    name = f"CPU, {usable_cores()} {platform.machine()} cores"
    return Machine(name=name, is_gpu=False, total_gib=total_memory() / GIB)


def unused_card() -> str:
    """One sentence on an NVIDIA card of this machine that torch cannot use, with the reason and the way out.

    Empty if there is no such card, and as long as torch is not imported.
    """
    torch = _loaded_torch()
    if torch is None or torch.cuda.is_available():
        return ""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return ""  # no NVIDIA driver is installed
    except pynvml.NVMLError as error:
        return tr(BROKEN_DRIVER, reason=first_line(error))
    device = _nvml_device()
    return "" if device is None else _why_unused(torch, pynvml.nvmlDeviceGetName(device))


def _why_unused(torch, card: str) -> str:
    """Why torch does not see the card that the driver lists, and what to do."""
    built_for, driver = torch.version.cuda, pynvml.nvmlSystemGetDriverVersion()
    if built_for is None:
        return tr(WITHOUT_CUDA, card=card)
    if pynvml.nvmlSystemGetCudaDriverVersion_v2() // 1000 < int(built_for.partition(".")[0]):
        return tr(OLD_DRIVER, card=card, driver=driver, cuda=built_for)
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return tr(HIDDEN, card=card, value=os.environ["CUDA_VISIBLE_DEVICES"])
    try:
        torch.cuda.init()
        reason = tr("it gives no reason")
    except (RuntimeError, AssertionError) as error:  # torch raises both
        reason = first_line(error)
    return tr(REFUSED, card=card, reason=reason)


def sample_memory() -> MemoryStats:
    """Memory now. Takes about a millisecond."""
    own = psutil.Process().memory_info()
    process, peak = own.rss / GIB, _peak_resident(own) / GIB
    device = _device()
    if device is None:
        total, available = total_memory(), available_memory()
        return MemoryStats(
            total_gib=total / GIB,
            in_use_gib=(total - available) / GIB,
            available_gib=available / GIB,
            process_gib=process,
            peak_process_gib=peak,
        )
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    extra: dict[str, float] = {}
    # Laptops and virtual cards do not support some of these; the figure is then None.
    with suppress(pynvml.NVMLError):
        extra["utilization"] = pynvml.nvmlDeviceGetUtilizationRates(device).gpu
    with suppress(pynvml.NVMLError):
        extra["temperature"] = pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU)
    with suppress(pynvml.NVMLError):
        extra["power"] = pynvml.nvmlDeviceGetPowerUsage(device) / 1000
    torch = _loaded_torch()
    if torch is not None and torch.cuda.is_initialized():
        extra["allocated_gib"] = torch.cuda.memory_allocated() / GIB
        extra["reserved_gib"] = torch.cuda.memory_reserved() / GIB
        extra["peak_reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
    return MemoryStats(
        total_gib=memory.total / GIB,
        in_use_gib=memory.used / GIB,
        available_gib=memory.free / GIB,
        process_gib=process,
        peak_process_gib=peak,
        **extra,
    )


def _peak_resident(own) -> int:
    """The largest resident memory of this process so far, in bytes."""
    if sys.platform == "win32":
        return own.peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class MemoryMonitor:
    """Calls `report(MemoryStats)` every `interval` seconds from its own thread.

    Use it as a context manager. `peak_gib` is the largest `used_by_us_gib` seen. Entering it resets torch's own peak.
    """

    def __init__(self, report: Callable[[MemoryStats], None], interval: float = 1.0):
        self._report = report
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-monitor", daemon=True)
        self.peak_gib = 0.0

    def __enter__(self) -> "MemoryMonitor":
        if (torch := _loaded_torch()) is not None and torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()  # otherwise the peak of earlier work would be counted
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join(timeout=10)
        self._take()

    def _watch(self) -> None:
        self._take()
        while not self._done.wait(self._interval):
            self._take()

    def _take(self) -> None:
        stats = sample_memory()
        self.peak_gib = max(self.peak_gib, stats.used_by_us_gib, stats.peak_reserved_gib or 0.0)
        self._report(stats)
