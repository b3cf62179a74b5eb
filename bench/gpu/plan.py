"""What is measured on a card: the shapes, the settings, and the list of measurements."""

from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from core.settings.run_config import RunConfig

Kind = Literal["tests", "pair", "speed", "memory"]
KINDS: tuple[Kind, ...] = ("tests", "pair", "speed", "memory")  # in the order in which they are measured

# Arguments of transformers' LlamaConfig: Llama 3.2 1B and 3B, Llama 3.1 8B, and one that a CPU trains in seconds.
SHAPES: dict[str, dict] = {
    name: {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": words,
        "tie_word_embeddings": tied,
    }
    for name, hidden, layers, heads, kv_heads, inner, words, tied in (
        ("1b", 2048, 16, 32, 8, 8192, 128_256, True),
        ("3b", 3072, 28, 24, 8, 8192, 128_256, True),
        ("8b", 4096, 32, 32, 8, 14336, 128_256, False),
        ("tiny", 128, 2, 4, 2, 256, 2048, True),
    )
}
REAL_SHAPES = ["1b", "3b", "8b"]

# Who trains: the app's own functions, a notebook's Unsloth script, and TRL with PEFT and bitsandbytes alone.
TRAINERS = ("ours", "unsloth", "trl")
TIMED_STEPS = {"1b": 20, "3b": 12, "8b": 8, "tiny": 2}
WARM_UP_STEPS = 3  # of which the first compiles

# Length, batch, whether embed_tokens and lm_head train, checkpointing. Each size has all of them.
MEMORY_SETTINGS: tuple[tuple[int, int, bool, str | bool], ...] = (
    (512, 1, False, "unsloth"),
    (512, 8, False, True),
    (1024, 4, True, "unsloth"),
    (2048, 1, True, True),
    (2048, 2, False, "unsloth"),
    (2048, 8, False, True),
    (4096, 2, True, "unsloth"),
    (8192, 1, False, True),
    (8192, 4, False, "unsloth"),
)
TINY_MEMORY_SETTINGS = ((64, 2, True, "unsloth"),)


@dataclass(frozen=True)
class Measurement:
    """One measurement: its name in the record, its kind, its arguments, and how many seconds it may take."""

    name: str
    kind: Kind
    arguments: dict = field(default_factory=dict)
    limit_s: int = 300

    @property
    def shape(self) -> str | None:
        return self.arguments.get("shape")


def measurements(shapes: list[str], kinds: list[Kind]) -> list[Measurement]:
    """All measurements of these shapes and kinds, the most useful first, since time may run out before the last."""
    found = {kind: list(_OF_KIND[kind](shapes)) for kind in KINDS if kind in kinds}
    return [measurement for kind in found for measurement in found[kind]]


def _tests(shapes: list[str]):
    if shapes != ["tiny"]:  # they make a small model of their own, and are skipped without a card
        yield Measurement("tests", "tests", {}, limit_s=120)


def _speed(shapes: list[str]):
    for shape, trainer in product(reversed(shapes), TRAINERS):
        yield Measurement(f"speed {shape} {trainer}", "speed", {"shape": shape, "trainer": trainer})


def _memory(shapes: list[str]):
    """Ordered by setting, not by size, so that the first few already cover every size."""
    for setting in MEMORY_SETTINGS + TINY_MEMORY_SETTINGS:
        for shape in shapes:
            if (setting in TINY_MEMORY_SETTINGS) == (shape == "tiny"):
                length, batch, embeddings, checkpointing = setting
                trains = "embeddings" if embeddings else "frozen"
                name = f"memory {shape} {length}x{batch} {trains} {checkpointing_word(checkpointing)}"
                names = ("shape", "length", "batch", "embeddings", "checkpointing")
                yield Measurement(name, "memory", dict(zip(names, (shape, *setting), strict=True)), limit_s=240)


def _pair(shapes: list[str]):
    yield Measurement(f"pair {shapes[-1]}", "pair", {"shape": shapes[-1]})


_OF_KIND = {"tests": _tests, "speed": _speed, "memory": _memory, "pair": _pair}


def checkpointing_word(checkpointing: str | bool) -> str:
    return "offloading" if checkpointing == "unsloth" else "usual"


def speed_length(shape: str) -> int:
    return 64 if shape == "tiny" else 2048


def speed_config(shape: str, model: str, rows: str) -> RunConfig:
    """The settings that the three trainers share: 4-bit, rank 32 on all linear layers, batch 2 × 4, length 2048."""
    config = _config(model, rows, speed_length(shape), 2, 4, WARM_UP_STEPS + TIMED_STEPS[shape])
    return config.with_settings(["training.use_gradient_checkpointing=unsloth"])


def memory_config(
    model: str, rows: str, length: int, batch: int, embeddings: bool, checkpointing: str | bool
) -> RunConfig:
    """Two steps, because the optimizer's states exist from the start only in the second."""
    config = _config(model, rows, length, batch, 1, 2)
    trained = "[embed_tokens, lm_head]" if embeddings else "[]"
    return config.with_settings(
        [f"adapter.modules_to_save={trained}", f"training.use_gradient_checkpointing={str(checkpointing).lower()}"]
    )


def _config(model: str, rows: str, length: int, batch: int, accumulation: int, steps: int) -> RunConfig:
    training = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "max_steps": steps,
        "warmup_steps": 0,
        "eval_steps": 0,
        "save_steps": 0,
        "completion_only_loss": False,
    }
    return RunConfig.build(
        {
            "model": {"model_name": model, "max_seq_length": length},
            "data": {"path": rows, "text_column": "text", "validation_share": 0.0},
            "adapter": {"r": 32, "lora_alpha": 32, "modules_to_save": []},
            "training": training,
        }
    )
