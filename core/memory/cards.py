"""Cards that people train on, and this machine as one of them. Knows nothing of torch or gradio."""

import difflib
import re
from pathlib import Path

from pydantic import BaseModel

from core.memory.hardware import Machine, MemoryStats, sample_memory
from core.problems import ConfigError

# What a desktop and the driver keep of a home card. NVIDIA's control panel shows 0.3 to 1 GiB on an idle Windows
# desktop; a card without a screen keeps less.
DESKTOP_GIB = 0.5
# What CUDA itself takes of a card for each program: code of the kernels, queues. 0.3 to 0.6 GiB are reported for PyTorch
# on cards from Turing to Hopper; NVIDIA gives no figure.
CONTEXT_GIB = 0.45


class Card(BaseModel, frozen=True):
    """`memory_gib` is all of it; `usable_gib` what a run can have."""

    name: str
    memory_gib: float
    is_gpu: bool = True
    kept_gib: float = DESKTOP_GIB  # by others
    has_bfloat16: bool = True

    @property
    def usable_gib(self) -> float:
        return max(self.memory_gib - self.kept_gib, 0.0)


def _card(name: str, gib: float, **more) -> Card:
    return Card(name=f"{name} {gib:g}GB", memory_gib=gib, **more)


# Sizes as on the makers' data sheets; a "12GB" card has 12 GiB.
CARDS = [
    _card("RTX 2060", 6, has_bfloat16=False), _card("RTX 3050", 8), _card("RTX 3070", 8), _card("RTX 4060", 8),
    _card("RTX 5060", 8), _card("RTX 3080", 10), _card("GTX 1080 Ti", 11, has_bfloat16=False),
    _card("RTX 2080 Ti", 11, has_bfloat16=False), _card("RTX 3060", 12), _card("RTX 4070", 12), _card("RTX 5070", 12),
    _card("Tesla T4", 16, has_bfloat16=False), _card("RTX 4060 Ti", 16), _card("RTX 4080", 16), _card("RTX 5070 Ti", 16),
    _card("RTX 5080", 16), _card("RTX A4500", 20), _card("RTX 3090", 24), _card("RTX 4090", 24), _card("L4", 24),
    _card("A10G", 24), _card("RTX 5090", 32), _card("A100", 40), _card("RTX A6000", 48), _card("L40S", 48),
    _card("A100", 80), _card("H100", 80), _card("RTX PRO 6000", 96),
]  # fmt: skip


def find_card(text: str) -> Card:
    """The card of that name, as people write it: "3060", "rtx3060 12 gb". Raises ConfigError with a sentence."""
    if match := re.fullmatch(r"(\d{1,4}(?:\.\d+)?) ?gi?b", text.strip().lower()):
        return Card(name=f"a card of {float(match[1]):g}GB", memory_gib=float(match[1]))
    wanted = _plain(text)
    plain = {_plain(card.name): card for card in CARDS}
    if wanted in plain:
        return plain[wanted]
    for is_it in (str.__eq__, str.__contains__):
        found = [card for name, card in plain.items() if wanted and is_it(name.removesuffix(_size(card)), wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    if found:
        raise ConfigError(f"There are several cards {text!r:.60}: {', '.join(card.name for card in found)}; say which.")
    near = difflib.get_close_matches(wanted, list(plain), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(plain[name].name for name in near)}?" if near else "give its memory, as in 12GB."
    raise ConfigError(f"No card {text!r:.60} is on the list; {hint}")


def _plain(text: str) -> str:
    words = re.sub(r"nvidia|geforce|gi?b", "", text.lower())
    return re.sub(r"[^a-z0-9.]", "", words)


def _size(card: Card) -> str:
    return f"{card.memory_gib:g}"


def this_machine(machine: Machine, memory: MemoryStats | None = None) -> Card:
    """The card that is trained on here; without one, the computer's memory. Others' share of it is what they hold now."""
    memory = memory or sample_memory()
    ours = memory.process_gib
    if machine.is_gpu:  # the driver's part of what this program holds is in no figure of torch
        ours = 0.0 if memory.reserved_gib is None else memory.reserved_gib + CONTEXT_GIB
    kept = max(memory.in_use_gib - ours, 0.0)
    return Card(
        name=machine.name,
        memory_gib=machine.total_gib,
        is_gpu=machine.is_gpu,
        kept_gib=kept,
        has_bfloat16=_has_bfloat16(machine),
    )


def _has_bfloat16(machine: Machine) -> bool:
    """Cards have it since Ampere; processors where Linux says so. What is not known to lack it is taken to have it."""
    if machine.is_gpu:
        return not re.match(r"gtx|rtx20|titan|quadro|teslat4|t4|(tesla)?[vp]100", _plain(machine.name))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags))
