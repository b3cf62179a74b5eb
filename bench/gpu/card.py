"""The device being measured, as torch sees it: its name, its memory, and waiting for its work."""

import platform
import resource
from importlib.metadata import version
from importlib.util import find_spec

from core.disk.sizes import GIB

LIBRARIES = ("torch", "unsloth", "unsloth_zoo", "bitsandbytes", "transformers", "trl", "peft", "triton")


def start_counting() -> None:
    """Starts counting the peak from here; what was freed before is left out."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> dict:
    """In GiB: how much torch reserved on the card, how much of it was allocated; without a card, resident memory."""
    import torch

    if not torch.cuda.is_available():
        return {"reserved_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, "allocated_gib": None}
    return {
        "reserved_gib": torch.cuda.max_memory_reserved() / GIB,
        "allocated_gib": torch.cuda.max_memory_allocated() / GIB,
    }


def usable_gib() -> float:
    """The GiB that other programs leave us. Unsloth computes larger parts of the logits where more is free."""
    import torch

    if not torch.cuda.is_available():
        import psutil

        return psutil.virtual_memory().total / GIB
    return (torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()) / GIB


def synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def described() -> dict:
    """What is recorded with each figure: the device's name and memory, and the versions of the libraries."""
    import torch

    card = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    versions = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES if find_spec(name)}
    return {
        "device": card.name if card else f"no card, {platform.machine()} processor",
        "device_gib": card.total_memory / GIB if card else None,
        "versions": versions,
    }
