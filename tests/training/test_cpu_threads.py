"""The number of threads of a run on a CPU: what it computes is the same with any, and it is tried on real steps."""

import pytest

import core.model.cpu_threads as cpu_threads
from core.runs.run_folder import create_run
from core.settings.presets import find_preset
from core.training.run_job import perform
from tests.conftest import fresh_model, prepare_for

TRIALS = cpu_threads.ThreadTrials
STEPS = 6
SETTINGS = [
    f"training.max_steps={STEPS}", "training.eval_steps=0", "training.save_steps=0", "training.sample_prompts=[]",
    "training.per_device_train_batch_size=4", "data.validation_share=0",
]  # fmt: skip


class Fixed:
    """In place of ThreadTrials: as many threads as torch has and the cores allow, for every step."""

    def __init__(self, most: int):
        self.next = self.kept = most

    def add(self, seconds: float, tokens: int) -> None:
        pass


class Noting(TRIALS):
    """Chooses as always, and notes the number of threads and the tokens of each step."""

    steps: list[tuple[int, int]] = []

    def add(self, seconds: float, tokens: int) -> None:
        import torch

        assert torch.get_num_threads() == self.next
        self.steps.append((self.next, tokens))
        super().add(seconds, tokens)


@pytest.fixture(scope="module")
def demo(unsloth):
    config = find_preset("demo-yoda").config.with_settings(SETTINGS)
    loaded = fresh_model(config)
    return config, prepare_for(config, loaded)


@pytest.fixture
def threads():
    """Sets how many threads torch has; afterwards it has as many as before."""
    import torch

    with cpu_threads.threads_restored():
        yield torch.set_num_threads


@pytest.fixture
def adapter_of(demo, tmp_path, monkeypatch):
    """The adapter's bytes after a run of the demo with `trials`, on a machine of two cores."""
    monkeypatch.setattr(cpu_threads, "usable_cores", lambda: 2)

    def train(trials: type) -> bytes:
        monkeypatch.setattr(cpu_threads, "ThreadTrials", trials)
        config, data = demo
        run = create_run(tmp_path, trials.__name__, config)
        status, message = perform(run, config, fresh_model(config), data, lambda event: None, lambda: False)
        assert status == "completed", message
        return (run.adapter_dir / "adapter_model.safetensors").read_bytes()

    return train


def test_the_adapter_is_the_same_with_one_thread_with_all_and_with_a_choice(adapter_of, threads):
    import torch

    alone = adapter_of(Fixed)  # the tests have one thread
    threads(2)
    assert adapter_of(Fixed) == alone, "two threads"
    Noting.steps = []
    assert adapter_of(Noting) == alone, "a choice"
    tried = [count for count, _ in Noting.steps]
    assert tried[:4] == [1, 1, 1, 2] and len(tried) == STEPS, "steps that are tried count"
    assert all(tokens > 50 for _, tokens in Noting.steps), "of this step alone"
    assert Noting.steps[-1][1] < 2 * Noting.steps[0][1]
    assert torch.get_num_threads() == 2, "as before the run"


def test_there_are_no_more_threads_than_torch_has_and_cores_are_allowed(threads, monkeypatch):
    most = []
    monkeypatch.setattr(cpu_threads, "ThreadTrials", most.append)
    for of_torch, cores in ((8, "1"), (1, "64")):
        threads(of_torch)
        monkeypatch.setenv("CPU_CORES", cores)
        cpu_threads.StepThreads()
    assert most == [1, 1]


def test_threads_are_restored_after_an_error(threads):
    import torch

    threads(3)
    with pytest.raises(ZeroDivisionError), cpu_threads.threads_restored():
        threads(1)
        raise ZeroDivisionError
    assert torch.get_num_threads() == 3
