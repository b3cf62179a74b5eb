"""Shared fixtures: the real model and data in ../shared, waiting for a condition, and one small training run.

Only tests that use the `unsloth` fixture import Unsloth, and they do so before the libraries that it patches.
"""

import copy
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from core.settings.run_config import RunConfig
from core.settings.sections import DataConfig, ModelConfig

os.environ.pop("HF_HUB_OFFLINE", None)
os.environ |= {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "OMP_NUM_THREADS": "1",  # with 64 by 64 matrices, several threads mostly wait for each other
}

# Where Python is told not to write compiled modules, each process that a test starts would compile the libraries again,
# which takes longer than the rest of their import.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell starts background jobs with SIGINT ignored, and children inherit that: they could not be sent Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / "shared"
PROMPT = "Once upon a time"


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the long tests at full length")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Files with long tests come first, so that both processes end at about the same time."""

    def is_long(item) -> bool:
        return any(item.get_closest_marker(name) for name in ("slow", "browser"))

    long_files = {item.path for item in items if is_long(item)}
    items.sort(key=lambda item: item.path not in long_files)


@pytest.fixture(scope="session")
def long(request) -> bool:
    """Whether the long tests (20 kills, out of memory 50 times) run at full length."""
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def stories() -> Path:
    """A trained Llama with 260,032 parameters, from outside this project."""
    return _shared_path("models/stories260K")


@pytest.fixture(scope="session")
def chat_templates() -> Path:
    return _shared_path("models/chat_templates")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    return _shared_path("data")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Small files that once were read wrongly."""
    return _shared_path("cases")


def _shared_path(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"../shared/{name} does not exist")
    return SHARED / name


@pytest.fixture
def runs_dir(tmp_path) -> Path:
    return tmp_path / "runs"


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[str]:
    """Mount a real disk in memory on a new folder, which needs root on Linux.

    Yields the reason if it cannot be mounted, or an empty string.
    """
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        yield "only root on Linux can mount a disk"
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        yield mounted.stderr.strip() or "it could not be mounted"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="session")
def wait_until():
    def wait(condition: Callable[[], Any], what: str, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout:g} s for {what}"
            time.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def unsloth():
    from core.model.unsloth_start import import_unsloth

    module = import_unsloth()
    # The import creates half a million permanent objects. Every training runs the garbage collector a few times;
    # freezing them keeps the collector from visiting them all each time.
    gc.collect()
    gc.freeze()
    return module


@pytest.fixture(scope="session")
def _stories_tokenizer(unsloth, stories):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(stories)


@pytest.fixture
def tokenizer(_stories_tokenizer):
    """The tokenizer of the stories model, copied for each test."""
    return copy.deepcopy(_stories_tokenizer)


@pytest.fixture(scope="session")
def demo_tokenizer(unsloth):
    """The demo model's tokenizer: byte-level BPE that splits text as Llama 3's does."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(PROJECT / "presets/demo-llama")


@pytest.fixture(scope="session")
def marking_tokenizer(unsloth):
    """The tokenizer of the demo model before, whose normalizer inserts spaces and marks for capital letters."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(PROJECT / "tests/runs/written_before/demo-llama")


@pytest.fixture
def chat_tokenizer(tokenizer, chat_templates):
    """The stories tokenizer with the special tokens and chat template of Llama 3.1."""
    tokenizer.add_tokens(
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], special_tokens=True
    )
    tokenizer.bos_token, tokenizer.eos_token = "<|begin_of_text|>", "<|eot_id|>"
    template = chat_templates / "meta-llama-Llama-3.1-8B-Instruct.jinja"
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    return tokenizer


@pytest.fixture(scope="session")
def tiny_models(unsloth, stories, tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a tiny random model of that model_type, made once."""
    from tests.tiny_models import save_tiny

    @lru_cache
    def folder(kind: str) -> Path:
        return save_tiny(kind, stories, tmp_path_factory.mktemp("tiny") / kind)

    return folder


def write_rows(path: Path, count: int = 12) -> Path:
    """Write short Alpaca rows that all have the same answer, so that a few steps are enough to learn it."""
    words = "red blue green pink grey black white brown gold teal lime rose".split()
    rows = [{"system": "Hi", "instruction": f"Say {word}.", "output": "the cat"} for word in words[:count]]
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def data_file(path: Path, *rows: dict, text: str | None = None):
    """Write these rows, or this text, to a JSONL file; returns a DataConfig for it without a validation split."""
    lines = text if text is not None else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
    return DataConfig(path=str(path), validation_share=0.0)


def small_config(model: Path, rows: Path, *settings: str):
    """A RunConfig with a few small steps, plus `section.field=value` settings; in float32, so that figures are the
    same on every machine."""
    small = [
        f"model.model_name={model}", "model.max_seq_length=128", "model.dtype=float32", f"data.path={rows}",
        "data.prompt_template=alpaca", "data.validation_share=0.2", "adapter.r=8", "training.max_steps=2",
        "training.learning_rate=0.01", "training.embedding_learning_rate=0.001", "training.warmup_steps=0",
        "training.gradient_accumulation_steps=2", "training.use_gradient_checkpointing=no",
    ]  # fmt: skip
    return RunConfig().with_settings([*small, *settings])


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.json")


@lru_cache(maxsize=8)
def _loaded_once(model: str):
    """The model for a ModelConfig given as JSON. Callers must copy it and never change it."""
    from core.model.load import load

    return load(ModelConfig.model_validate_json(model), use_gradient_checkpointing=False)


def fresh_model(config: RunConfig):
    """The model of a RunConfig as `load` returns it, without an adapter.

    Each model is loaded once per process (by folder, precision, 4-bit, length) and every call returns a new
    deep copy, which trains and answers bit for bit like a freshly loaded one (tests/model/test_fresh_model.py). Do not
    use it for a folder whose files change after the first call.
    """
    return copy.deepcopy(_loaded_once(config.model.model_dump_json()))


def load_for(config, with_adapter: bool = True):
    """A `fresh_model`, by default with a new adapter."""
    from core.model.new_adapter import attach_adapter

    loaded = fresh_model(config)
    if with_adapter:
        attach_adapter(loaded, config.adapter, False, config.training.seed)
    return loaded


def prepare_for(config, loaded):
    from core.data.prepared.prepare import prepare

    return prepare(config.data, loaded.tokenizer, 128, config.training.completion_only_loss)


def train_for(config, adapter_dir: Path, should_stop=lambda: False, loaded=None, resume_from=None):
    """Train; returns the loaded model, the events and the result."""
    from core.training.train import train

    loaded = loaded or load_for(config)
    events = []
    result = train(loaded, config, prepare_for(config, loaded), adapter_dir, events.append, should_stop, resume_from)
    return loaded, events, result


def adapter_weights(run) -> dict:
    """The tensors of a run's saved adapter."""
    from safetensors.torch import load_file

    return load_file(run.adapter_dir / "adapter_model.safetensors")


def differing(ours: dict, theirs: dict) -> list[str]:
    """Names of the tensors that are not bit-equal."""
    assert ours.keys() == theirs.keys() and ours
    return [name for name in ours if not ours[name].equal(theirs[name])]


def next_logits(loaded, base: bool = False, prompt: str = PROMPT):
    """Logits of the token after the prompt, from the base or from the model as it is."""
    from core.answering.logits import next_token_logits
    from core.model.views import base_view, for_inference

    with for_inference(loaded):
        encoded = loaded.tokenizer([prompt], add_special_tokens=False, return_tensors="pt")
        inputs = {key: encoded[key] for key in ("input_ids", "attention_mask")}
        if base:
            with base_view(loaded):
                return next_token_logits(loaded, inputs)
        return next_token_logits(loaded, inputs)


def greedy_text(loaded, prompt: str, max_new_tokens: int, base: bool = False) -> str:
    """The greedy answer from transformers' own `generate`."""
    from core.model.views import base_view, for_inference

    with for_inference(loaded), base_view(loaded) if base else nullcontext():
        ids = loaded.tokenizer([prompt], add_special_tokens=False, return_tensors="pt")["input_ids"]
        out = loaded.model.generate(
            input_ids=ids,
            attention_mask=ids.new_ones(ids.shape),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=loaded.eos_token_ids,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )
    return loaded.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


@dataclass
class Trained:
    """A finished run on the stories model in 4-bit. `logits` are those of base and tuned at several stages."""

    loaded: Any
    config: Any
    data: Any
    events: list
    result: Any
    adapter_dir: Path
    logits: dict[str, Any] = field(default_factory=dict)
    optimizer_groups: list[tuple[float, set[str]]] = field(default_factory=list)
    optimizer_is_gone: bool = False

    def events_of(self, kind: str) -> list:
        return [event for event in self.events if event.type == kind]


@pytest.fixture(scope="session")
def trained(unsloth, stories, rows, tmp_path_factory) -> Trained:
    """Shared by many tests: read only, do not train it further."""
    import core.model.load
    import core.model.new_adapter
    import core.training.receipt
    import core.training.train

    config = small_config(stories, rows, "training.max_steps=12", "training.eval_steps=6")
    run = Trained(None, config, None, [], None, tmp_path_factory.mktemp("trained") / "adapter")
    run.loaded = core.model.load.load(config.model, use_gradient_checkpointing=False)
    run.logits["fresh base"] = next_logits(run.loaded)
    core.model.new_adapter.attach_adapter(run.loaded, config.adapter, False, config.training.seed)
    run.logits["attached base"] = next_logits(run.loaded, base=True)
    run.logits["attached tuned"] = next_logits(run.loaded)
    optimizers = []

    def recording_receipt(loaded, config, data, trainer, asked, optimizer):
        names = {id(weight): name for name, weight in loaded.model.named_parameters()}
        for group in optimizer.param_groups:
            run.optimizer_groups.append((group["initial_lr"], {names[id(weight)] for weight in group["params"]}))
        optimizers.append(weakref.ref(optimizer.optimizer))
        return core.training.receipt.make_receipt(loaded, config, data, trainer, asked, optimizer)

    run.data = prepare_for(config, run.loaded)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.training.train, "make_receipt", recording_receipt)
        _, run.events, run.result = train_for(config, run.adapter_dir, loaded=run.loaded)
    gc.collect()
    run.optimizer_is_gone = optimizers[0]() is None
    run.logits["trained base"] = next_logits(run.loaded, base=True)
    run.logits["trained tuned"] = next_logits(run.loaded)
    return run


@pytest.fixture(scope="session")
def reloaded(trained):
    """The same run, loaded from disk."""
    from core.model.load import load

    return load(trained.config.model, None, trained.adapter_dir, use_gradient_checkpointing=False)
