"""Graphics cards that people train on, and this machine as one of them."""

import difflib
import re
from pathlib import Path

from pydantic import BaseModel

from core.memory.hardware import Machine, MemoryStats, sample_memory
from core.problems import ConfigError, tr

# What a desktop and the driver use of a card at home. NVIDIA's control panel shows 0.3 to 1 GiB on an idle Windows
# desktop; it is less on a card without a screen.
DESKTOP_GIB = 0.5
# What CUDA itself uses per program, for kernel code and queues. 0.3 to 0.6 GiB are reported for PyTorch on cards from
# Turing to Hopper; NVIDIA publishes no figure.
CONTEXT_GIB = 0.45


class Card(BaseModel, frozen=True):
    """A card, or a computer without one. `memory_gib` is all of its memory, `usable_gib` what a run can use."""

    name: str
    memory_gib: float
    is_gpu: bool = True
    kept_gib: float = DESKTOP_GIB  # used by other programs
    has_bfloat16: bool = True

    @property
    def usable_gib(self) -> float:
        return max(self.memory_gib - self.kept_gib, 0.0)


def _card(name: str, gib: float, **more) -> Card:
    return Card(name=f"{name} {gib:g}GB", memory_gib=gib, **more)


# Sizes as on the makers' data sheets; a "12GB" card has 12 GiB.
CARDS = [
    _card("RTX 2060", 6, has_bfloat16=False),
    _card("RTX 3050", 8),
    _card("RTX 3070", 8),
    _card("RTX 4060", 8),
    _card("RTX 5060", 8),
    _card("RTX 3080", 10),
    _card("GTX 1080 Ti", 11, has_bfloat16=False),
    _card("RTX 2080 Ti", 11, has_bfloat16=False),
    _card("RTX 3060", 12),
    _card("RTX 4070", 12),
    _card("RTX 5070", 12),
    _card("Tesla T4", 16, has_bfloat16=False),
    _card("RTX 4060 Ti", 16),
    _card("RTX 4080", 16),
    _card("RTX 5070 Ti", 16),
    _card("RTX 5080", 16),
    _card("RTX A4500", 20),
    _card("RTX 3090", 24),
    _card("RTX 4090", 24),
    _card("L4", 24),
    _card("A10G", 24),
    _card("RTX 5090", 32),
    _card("A100", 40),
    _card("RTX A6000", 48),
    _card("L40S", 48),
    _card("A100", 80),
    _card("H100", 80),
    _card("RTX PRO 6000", 96),
]
# Those of laptops have other memory than the desktop's of the same number. Sizes as in NVIDIA's comparison of GeForce
# laptops (nvidia.com/geforce/laptops/compare).
LAPTOP_CARDS = [
    _card("RTX 3050 Laptop", 4),
    _card("RTX 3060 Laptop", 6),
    _card("RTX 4050 Laptop", 6),
    _card("RTX 3070 Laptop", 8),
    _card("RTX 3080 Laptop", 8),  # one of 16 GB, too, was sold under this name
    _card("RTX 4060 Laptop", 8),
    _card("RTX 4070 Laptop", 8),
    _card("RTX 5060 Laptop", 8),
    _card("RTX 5070 Laptop", 8),
    _card("RTX 4080 Laptop", 12),
    _card("RTX 5070 Ti Laptop", 12),
    _card("RTX 3080 Laptop", 16),
    _card("RTX 4090 Laptop", 16),
    _card("RTX 5080 Laptop", 16),
    _card("RTX 5090 Laptop", 24),
]
ALL_CARDS = [*CARDS, *LAPTOP_CARDS]
OF_A_SIZE = "a card of "  # how the name of a card begins of which only the size is known
# 12GB, 7.5 GiB, or a number that no card has as its name
_MEMORY = re.compile(r"(\d{1,4}(?:\.\d+)?) ?gi?b|(\d{1,3}(?:\.\d+)?)")


def find_card(text: str) -> Card:
    """The card with a name as people write it: "3060", "rtx3060 12 gb", "4070 laptop"; or one of a size, as in "12GB"
    or "12". Raises ConfigError."""
    if match := _MEMORY.fullmatch(text.strip().lower()):
        memory = float(match[1] or match[2])
        return Card(name=f"{OF_A_SIZE}{memory:g}GB", memory_gib=memory)
    wanted = _plain(text)
    plain = {_plain(card.name): card for card in (LAPTOP_CARDS if "laptop" in wanted else CARDS)}
    if wanted in plain:
        return plain[wanted]
    for is_it in (str.__eq__, str.__contains__):
        found = [card for name, card in plain.items() if wanted and is_it(name.removesuffix(_size(card)), wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    if found:
        known = ", ".join(card.name for card in found)
        raise ConfigError("There are several cards {card!r:.60}: {known}; choose one.", card=text, known=known)
    near = [plain[name].name for name in difflib.get_close_matches(wanted, list(plain), n=3, cutoff=0.5)]
    if near:
        raise ConfigError(
            "No card {card!r:.60} is on the list; did you mean {near}?", card=text, near=tr(" or ").join(near)
        )
    raise ConfigError("No card {card!r:.60} is on the list; give its memory instead, such as 12GB.", card=text)


def _plain(text: str) -> str:
    words = re.sub(r"nvidia|geforce|gpu|gi?b", "", text.lower())
    return re.sub(r"[^a-z0-9.]", "", words)


def _size(card: Card) -> str:
    return f"{card.memory_gib:g}"


def this_machine(machine: Machine, memory: MemoryStats | None = None) -> Card:
    """The card to train on here, or the computer if it has none. Other programs keep what they use now."""
    memory = memory or sample_memory()
    ours = memory.process_gib
    if machine.is_gpu:  # torch's figures do not include what the driver uses for this program
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
    """Cards have it since Ampere, processors if Linux lists it. Assumed where nothing is known."""
    if machine.is_gpu:
        return not re.match(r"gtx|rtx20|titan|quadro|teslat4|t4|(tesla)?[vp]100", _plain(machine.name))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags))
