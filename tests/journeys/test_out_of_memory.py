"""Training runs out of memory: the error suggests changes, the model is freed, and the next run works."""

import gc

import psutil
import pytest

from core.memory.cards import this_machine
from core.memory.hardware import detect_machine
from core.memory.model_shape import ModelShape, shape_of
from core.memory.suggestions import suggestions
from core.model.device_memory import is_out_of_memory
from core.settings.run_config import RunConfig
from core.training.out_of_memory import out_of_memory_error
from core.workbench.workbench import Workbench
from tests.conftest import load_for, prepare_for, small_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(unsloth, stories, rows) -> RunConfig:
    return small_config(
        stories, rows, "training.max_steps=4", "training.per_device_train_batch_size=4", "training.save_steps=0",
        "data.validation_share=0",
    )  # fmt: skip


def exhaust(bench: Workbench, config: RunConfig) -> None:
    """A run whose third micro-batch requests more memory than exists, so torch's own allocator refuses it."""
    import torch

    bench.load_model(config.model)
    calls = []

    def allocate_too_much(module, inputs) -> None:
        calls.append(1)
        if len(calls) == 3:
            torch.empty(2**48, dtype=torch.float32)

    bench._slot.loaded.model.register_forward_pre_hook(allocate_too_much)
    bench.start(config, "too much")
    bench.wait(120)
    failure = bench.failure
    # Everything a failure refers to stays in memory while it is shown; its frames would keep the model.
    assert (failure.__traceback__, failure.__context__, failure.__cause__) == (None, None, None)


def tensors_alive() -> int:
    """Total size in bytes of all live tensors."""
    import torch

    gc.collect()
    return sum(t.numel() * t.element_size() for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter))


def test_failed_runs_leak_no_memory_and_the_next_run_works(config, tmp_path, wait_until, long):
    """Fifty failures with `--long`, eight without."""
    count = 50 if long else 8
    bench = Workbench(tmp_path / "runs")
    resident, alive = [], 0
    for number in range(count):
        exhaust(bench, config)
        snapshot = bench.snapshot
        assert snapshot.status == "failed", number
        assert snapshot.message.startswith(
            "The computer's memory is full. What would help most: gradient checkpointing on"
        )
        assert not bench.compare_ready and bench.model_state.report is None
        if number in (4, count - 1):
            alive = alive or tensors_alive()
            resident.append(psutil.Process().memory_info().rss)
    # Repeated, because gc.collect() does nothing while another thread collects. Other tests' tensors may be freed too.
    wait_until(lambda: tensors_alive() <= alive, "the failed models to be freed", 60)
    assert resident[1] < resident[0] * 1.05
    bench.start(config, "next")
    assert bench.wait(120).status == "completed", bench.snapshot.message


def test_the_error_lists_the_most_helpful_changes_and_their_savings(config):
    trained = config.with_settings(["training.optim=adamw_torch", "model.load_in_4bit=no", "data.validation_share=0.2"])
    loaded = load_for(trained)
    data = prepare_for(trained, loaded)
    longest = int(data.train.figures["kept"].max())
    shape = shape_of(trained.model)
    assert ModelShape.build(loaded.model.config.to_dict(), "it") == shape
    changes = suggestions(trained, shape, this_machine(detect_machine()), longest=longest)
    by_words = {change.words: change.saves_gib for change in changes}
    # The trained copy and its gradient in 32-bit, and Adam's two states; in the loss, a copy in the
    # model's precision and the gradient again. Counted once, because the embeddings are tied.
    copy = loaded.model.get_output_embeddings().original_module.weight.element_size()  # 4 on a CPU without bfloat16
    embeddings = (4 + 4 + 8 + copy + 4) * shape.vocab_size * shape.hidden_size / 1024**3
    assert by_words["without embed_tokens and lm_head"] == pytest.approx(embeddings, rel=1e-9)
    assert "batch 4 → 2, with accumulation 2 → 4" in by_words
    sentence = str(out_of_memory_error(loaded, trained, data))
    assert (
        sentence.startswith("The computer's memory is full. What would help most: ")
        and sentence.count("saves about") == 3
    )
    assert [change.words for change in changes[:3] if change.words not in sentence] == []


@pytest.mark.parametrize(
    ("error", "is_out"),
    [
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError("No space left on device"), False),
    ],
)
def test_which_errors_count_as_out_of_memory(unsloth, error, is_out):
    assert is_out_of_memory(error) is is_out


def test_a_cuda_error_counts_as_out_of_memory(unsloth):
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
