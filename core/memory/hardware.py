"""What machine this is, and how its memory stands. Knows nothing of runs or gradio.

Importable without torch, so that the page can name the card while the libraries still warm up: the device is read
through NVML, and torch is asked for its own figures only once something else has imported it.
"""

import platform
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import psutil
import pynvml
from pydantic import BaseModel

GIB = 1024**3


class Machine(BaseModel, frozen=True):
    """`name` of the accelerator (or processor), whether it is a GPU, and its memory in GiB."""

    name: str
    is_gpu: bool
    total_gib: float


class MemoryStats(BaseModel, frozen=True):
    """Memory at one moment, in GiB. What a machine does not have or tell is None.

    On a GPU: `allocated`, `reserved`, `peak_reserved` of this program by torch; `in_use` on the whole device;
    `utilization` in percent, `temperature` in °C, `power` in W. On a CPU: `process` is this program's resident
    memory and `peak_process` its largest so far, `in_use` that of all programs, `available` what is left for new ones.
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
        """What counts as this program's memory here: reserved on a GPU, resident on a CPU."""
        return self.process_gib if self.reserved_gib is None else self.reserved_gib


@cache
def _nvml_device():
    """The first NVIDIA device, or None where there is no driver or card."""
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByIndex(0) if pynvml.nvmlDeviceGetCount() else None
    except pynvml.NVMLError:
        return None


def _loaded_torch():
    """torch, once something else has imported all of it, else None."""
    torch = sys.modules.get("torch")
    # While torch is being imported its module exists without its parts.
    return torch if torch is not None and hasattr(torch, "cuda") and hasattr(torch, "compile") else None


def _device():
    """The NVML handle of the card that is trained on; None on a CPU, also when torch cannot use the card there is."""
    torch = _loaded_torch()
    if torch is None or _nvml_device() is None:
        return _nvml_device()
    if not torch.cuda.is_available():
        return None
    # NVML counts cards in another order than torch, and knows nothing of CUDA_VISIBLE_DEVICES.
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")


def detect_machine() -> Machine:
    device = _device()
    if device is not None:
        name = pynvml.nvmlDeviceGetName(device)
        return Machine(name=name, is_gpu=True, total_gib=pynvml.nvmlDeviceGetMemoryInfo(device).total / GIB)
    cores = psutil.cpu_count(logical=True)
    return Machine(
        name=f"CPU, {cores} {platform.machine()} cores", is_gpu=False, total_gib=psutil.virtual_memory().total / GIB
    )


def sample_memory() -> MemoryStats:
    """Memory now. Costs about a millisecond."""
    own = psutil.Process().memory_info()
    process, peak = own.rss / GIB, _peak_resident(own) / GIB
    device = _device()
    if device is None:
        memory = psutil.virtual_memory()
        return MemoryStats(
            total_gib=memory.total / GIB,
            in_use_gib=(memory.total - memory.available) / GIB,
            available_gib=memory.available / GIB,
            process_gib=process,
            peak_process_gib=peak,
        )
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    extra: dict[str, float] = {}
    # Laptops and virtual cards answer some of these with "not supported": then the figure stays unknown.
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
    """The largest resident memory of this program so far, in bytes."""
    if sys.platform == "win32":
        return own.peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class MemoryMonitor:
    """Calls `report(MemoryStats)` every `interval` seconds from a thread of its own, between start and stop.

    Use as a context manager; `peak_gib` is the largest `used_by_us_gib` seen. Torch's own peak begins anew with it.
    """

    def __init__(self, report: Callable[[MemoryStats], None], interval: float = 1.0):
        self._report = report
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-monitor", daemon=True)
        self.peak_gib = 0.0

    def __enter__(self) -> "MemoryMonitor":
        if (torch := _loaded_torch()) is not None and torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()  # else the peak of what ran before would count as ours
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
