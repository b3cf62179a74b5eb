"""Memory of the device and of this process: freeing it, and recognising that it ran out."""

import ctypes
import gc
import os

from core.model.library_patches.model_parts import reset_offloading_buffers


def free_memory() -> None:
    """Returns memory that is no longer used to the device and to the operating system."""
    import torch

    reset_offloading_buffers()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(libc, "malloc_trim"):
        # glibc keeps what threads have freed in one pool per thread; over many runs these pools grow.
        libc.malloc_trim(0)


OUT_OF_MEMORY_TEXTS = (  # in errors that have no class of their own
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a card or in the computer; there libraries often say so only in the text."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in OUT_OF_MEMORY_TEXTS
    )
