import ctypes
import gc
import os
import sys


def free_memory() -> None:
    """Gives memory that nothing refers to any more back to the device and to the system."""
    import torch

    if offloading := sys.modules.get("unsloth_zoo.gradient_checkpointing"):
        # It does so itself only after a run that came to its end: not when it was stopped or failed.
        offloading.reset_unsloth_gradient_checkpointing_buffers()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(libc, "malloc_trim"):
        # glibc keeps what threads have freed in a pool for each of them, which grow one by one over many runs.
        libc.malloc_trim(0)


WORDS = (  # of errors that have no type of their own
    "DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a card or in the computer, where libraries often say so in words only."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in WORDS)
