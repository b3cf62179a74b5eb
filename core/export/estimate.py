"""How much disk and time an export takes, before it is made."""

import os
from collections.abc import Sequence

# Bytes of a weight; q8_0 stores 32 of them and their scale in 34 bytes.
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32}
BYTES |= {"q6_k": 0.82, "q5_k_m": 0.73, "q4_k_m": 0.62}  # about, with the tensors that get more
# Weights a second, measured on one core of a server's processor (`python -m bench.export`). Quantizing uses all cores.
MERGED_A_SECOND = 90e6
QUANTIZED_A_SECOND = {"q8_0": 148e6, "q6_k": 21e6, "q5_k_m": 8.2e6, "q4_k_m": 8.2e6}


def bytes_of(parameters: int, kinds: Sequence[str]) -> int:
    """About how many bytes this many weights take, in all of these precisions together."""
    return round(sum(parameters * BYTES[kind] for kind in kinds))


def seconds_of(parameters: int, kinds: Sequence[str]) -> float:
    """About how many seconds it takes to merge this many weights and write them in these precisions, without a test."""
    cores = os.cpu_count() or 1
    quantizing = sum(parameters / QUANTIZED_A_SECOND[kind] / cores for kind in kinds if kind in QUANTIZED_A_SECOND)
    return parameters / MERGED_A_SECOND + quantizing
