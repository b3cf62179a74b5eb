"""Checkpoints on the real trainer: what they contain, which are kept, and that resuming from one changes nothing.

Most tests only read the run of the fixture `whole`, or continue from a copy of one of its checkpoints.
"""

import shutil

import pytest
from safetensors.torch import load_file

from core.problems import RunError, TrainingError
from core.runs.checkpoint_list import list_checkpoints
from core.runs.events import CheckpointSaved, Evaluated, Sampled, StepDone
from tests.conftest import differing, load_for, prepare_for, small_config, train_for, write_rows

pytestmark = pytest.mark.slow

STEPS = 8
SETTINGS = [  # dropout, so that the random states matter; 3 steps per epoch, so that the order of the rows does
    f"training.max_steps={STEPS}", "training.eval_steps=2", "training.save_steps=3", "training.save_total_limit=100",
    "adapter.lora_dropout=0.2", "training.sample_prompts=[Say red., Say blue.]", "training.warmup_steps=3",
    "training.lr_scheduler_type=cosine",
]  # fmt: skip
NO_CHECKS = ["training.eval_steps=0", "training.sample_prompts=[]", "data.validation_share=0"]


@pytest.fixture(scope="module", autouse=True)
def short_answers():
    """How long the answers to the run's own prompts may be does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.training.sample_answers.MAX_NEW_TOKENS", 16)
        yield


@pytest.fixture(scope="module")
def config(unsloth, stories, rows):
    return small_config(stories, rows, *SETTINGS)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """A run that nothing interrupts: its folder, its events."""
    folder = tmp_path_factory.mktemp("whole")
    _, events, result = train_for(config, folder / "adapter")
    assert result.steps == STEPS and not result.was_stopped
    return folder, events


@pytest.fixture(scope="module")
def to_be_refused(config):
    """A loaded model for tests in which no step is trained, because the checkpoint is refused."""
    return load_for(config)


@pytest.fixture(scope="module")
def ended_early(config, tmp_path_factory):
    """A run that early stopping ends: its settings, its folder, its events and its result."""
    early = config.with_settings(
        [
            "training.early_stopping_patience=2",
            "training.eval_steps=1",
            "training.learning_rate=0.5",
            "training.max_steps=50",
            "training.sample_prompts=[]",
        ]
    )
    folder = tmp_path_factory.mktemp("early")
    _, events, result = train_for(early, folder / "adapter")
    return early, folder, events, result


def weights(folder) -> dict:
    return load_file(folder / "adapter/adapter_model.safetensors")


def reported(events, since: int = 0) -> list:
    """What a run reports about each step after `since`, without times."""
    kinds = (StepDone, Evaluated, Sampled)
    return [e.model_dump(exclude={"time", "elapsed"}) for e in events if isinstance(e, kinds) and e.step > since]


def checked(events) -> dict[int, float]:
    return {event.step: event.eval_loss for event in events if isinstance(event, Evaluated)}


def losses(events) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def checkpoints(folder) -> dict[int, float | None]:
    """Steps and validation losses of a run's checkpoints."""
    return {checkpoint.step: checkpoint.eval_loss for checkpoint in list_checkpoints(folder / "checkpoints")}


def copy_of(folder, tmp_path, step: int):
    """The checkpoint of `step` in a run folder of its own, which already has an adapter."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_model.safetensors").write_bytes(b"kept")
    shutil.copytree(folder / "checkpoints" / f"step-{step}", tmp_path / "checkpoints" / f"step-{step}")
    return list_checkpoints(tmp_path / "checkpoints")[0]


def train_watched(config, folder, watch, should_stop=lambda: False):
    """Trains a newly loaded model; `watch(event, loaded)` sees every event as it happens."""
    from core.training.train import train

    loaded = load_for(config)
    data = prepare_for(config, loaded)
    return train(loaded, config, data, folder / "adapter", lambda event: watch(event, loaded), should_stop)


def is_done(step: int, events: list) -> bool:
    return any(isinstance(event, StepDone) and event.step == step for event in events)


def test_a_checkpoint_is_saved_every_save_steps_at_each_best_check_and_at_the_end(whole):
    folder, events = whole
    best, at_best = float("inf"), set()
    for step, loss in checked(events).items():
        if loss < best:
            best = loss
            at_best.add(step)
    assert {2, 4} <= at_best  # not multiples of three
    expected = sorted({3, 6, STEPS} | at_best)
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == expected
    assert checkpoints(folder) == {step: checked(events).get(step) for step in expected}


def test_no_checkpoint_contains_a_pickle(whole):
    folder, _ = whole
    files = {file.name for file in (folder / "checkpoints/step-6").iterdir()}
    assert {"adapter_model.safetensors", "optimizer.safetensors", "resume.json", "trainer_state.json"} <= files
    assert {file.rpartition(".")[2] for file in files} <= {"safetensors", "json", "jinja", "md", "model"}


@pytest.mark.parametrize("step", [3, 4, 6, STEPS], ids=["saved", "best", "saved and checked", "last"])
def test_a_resumed_run_is_bit_equal(whole, config, tmp_path, step):
    folder, events = whole
    checkpoint = copy_of(folder, tmp_path, step)
    _, again, result = train_for(config, tmp_path / "adapter", resume_from=checkpoint)
    assert reported(again, step) == reported(events, step)
    assert differing(weights(tmp_path), weights(folder)) == []
    assert result.steps == STEPS
    assert result.train_loss == pytest.approx(sum(losses(events)) / STEPS, rel=1e-12)


@pytest.mark.parametrize(("moment", "last"), [("step", 7), ("check", 4)])
def test_a_stopped_run_resumes_where_it_was(whole, config, tmp_path, moment, last):
    """Stopped within a step, or within a check: the check is then made first."""
    folder, events = whole
    seen, requests = [], []

    def should_stop() -> bool:
        """True the second time it is called after step `last`: within the next step, or within the check."""
        if is_done(last, seen):
            requests.append(True)
        return len(requests) > 1

    result = train_watched(config, tmp_path, lambda event, loaded: seen.append(event), should_stop)
    assert result.was_stopped and result.steps == last
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    assert newest.step == last and newest.eval_loss is None
    _, again, _ = train_for(config, tmp_path / "adapter", resume_from=newest)
    assert reported(seen) + reported(again) == reported(events)
    assert checkpoints(tmp_path) == checkpoints(folder) | {last: checked(events).get(last)}
    assert differing(weights(tmp_path), weights(folder)) == []


def test_the_newest_few_and_the_best_are_kept(config, tmp_path):
    wild = ["training.learning_rate=0.1", "training.embedding_learning_rate=0.3", "training.lr_scheduler_type=constant"]
    few = config.with_settings(
        ["training.save_total_limit=2", "training.eval_steps=1", "training.weight_decay=0",
         "training.sample_prompts=[]", *wild]
    )  # fmt: skip
    _, events, _ = train_for(few, tmp_path / "adapter")
    best = min(checked(events), key=checked(events).get)
    assert best < 6  # the rate is too high: the loss gets worse
    assert [*checkpoints(tmp_path)] == [best, 6, STEPS]
    last = [event for event in events if isinstance(event, CheckpointSaved)][-1]
    assert last.kept == (best, 6, STEPS)


def test_checks_and_samples_change_nothing(whole, config, tmp_path):
    folder, _ = whole
    bare = config.with_settings(["training.eval_steps=0", "training.sample_prompts=[]", "training.save_steps=0"])
    train_for(bare, tmp_path / "adapter")
    assert not (tmp_path / "checkpoints").exists()
    assert differing(weights(tmp_path), weights(folder)) == []


def test_other_rows_are_refused(whole, config, to_be_refused, tmp_path):
    folder, _ = whole
    checkpoint = copy_of(folder, tmp_path, 6)
    other = config.with_settings([f"data.path={write_rows(tmp_path / 'other.json', 11)}"])
    with pytest.raises(TrainingError) as refused:
        train_for(other, tmp_path / "adapter", loaded=to_be_refused, resume_from=checkpoint)
    assert refused.value.values == {"checkpoint": f"{tmp_path.name}/checkpoints/step-6"}
    assert (tmp_path / "adapter/adapter_model.safetensors").read_bytes() == b"kept"


@pytest.mark.parametrize("setting", ["adapter.r=4", "adapter.target_modules=[q_proj]"])
def test_other_layers_are_refused(whole, config, tmp_path, setting):
    folder, _ = whole
    checkpoint = copy_of(folder, tmp_path, 6)
    with pytest.raises(RunError) as refused:
        train_for(config.with_settings([setting]), tmp_path / "adapter", resume_from=checkpoint)
    assert refused.value.values == {"folder": checkpoint.folder}
    assert (tmp_path / "adapter/adapter_model.safetensors").read_bytes() == b"kept"


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "optimizer.safetensors", "resume.json", "trainer_state.json", "progress.json"]
)
def test_a_damaged_checkpoint_is_refused_by_name(whole, config, to_be_refused, tmp_path, name):
    folder, _ = whole
    checkpoint = copy_of(folder, tmp_path, 6)
    file = checkpoint.folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(RunError) as refused:
        train_for(config, tmp_path / "adapter", loaded=to_be_refused, resume_from=checkpoint)
    assert refused.value.values == {"folder": checkpoint.folder, "file": name}
    assert (tmp_path / "adapter/adapter_model.safetensors").read_bytes() == b"kept"


@pytest.mark.parametrize("optim", ["sgd", "adafactor"])
def test_an_optimizer_with_few_or_other_states_can_be_resumed(config, tmp_path, optim):
    other = config.with_settings([f"training.optim={optim}", "training.max_steps=4", *NO_CHECKS])
    _, events, _ = train_for(other, tmp_path / "whole/adapter")
    checkpoint = copy_of(tmp_path / "whole", tmp_path, 3)
    _, again, _ = train_for(other, tmp_path / "adapter", resume_from=checkpoint)
    assert reported(again) == reported(events, 3) != []
    assert differing(weights(tmp_path), weights(tmp_path / "whole")) == []


def test_early_stopping_returns_to_the_best(ended_early):
    _, folder, events, result = ended_early
    best = min(checked(events), key=checked(events).get)
    assert result.steps == best + 2 == [*checked(events)][-1] < 50
    for figure in (f"step {result.steps}", "2 checks", f"{checked(events)[best]:.4g}", f"step {best}"):
        assert figure in result.ending
    kept = load_file(folder / f"checkpoints/step-{best}/adapter_model.safetensors")
    assert differing(weights(folder), {name: kept[name].to(w.dtype) for name, w in weights(folder).items()}) == []


def test_a_check_that_was_due_can_end_the_run(ended_early, tmp_path):
    """Stopped within the check that triggers early stopping: resumed, it ends there without another step."""
    early, folder, events, whole = ended_early
    seen = []
    stopped = train_watched(early, tmp_path, lambda event, _: seen.append(event), lambda: is_done(whole.steps, seen))
    assert stopped.was_stopped
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    assert newest.step == whole.steps
    _, again, result = train_for(early, tmp_path / "adapter", resume_from=newest)
    assert reported(seen) + reported(again) == reported(events)
    assert (result.steps, result.ending) == (whole.steps, whole.ending)
    assert differing(weights(tmp_path), weights(folder)) == []


def test_stop_at_loss(config, whole, tmp_path):
    _, events = whole
    wanted = sorted(losses(events))[4]
    first = next(step for step, loss in enumerate(losses(events), 1) if loss <= wanted)
    assert first < STEPS
    limited = config.with_settings([f"training.stop_at_loss={wanted}", "training.sample_prompts=[]"])
    _, again, result = train_for(limited, tmp_path / "adapter")
    assert result.steps == first and not result.was_stopped
    for figure in (f"step {first}", f"{losses(events)[first - 1]:.4g}", f"{wanted:g}"):
        assert figure in result.ending
    assert [*checked(again)][-1] == first == [*checkpoints(tmp_path)][-1]


@pytest.mark.parametrize(("poisoned", "found_in"), [(3, "loss"), (4, "weights")])
def test_the_last_good_checkpoint_is_kept_when_training_diverges(config, tmp_path, poisoned, found_in):
    """A weight becomes infinite after that step, as after a gradient that overflowed.

    After step 3 the next loss shows it. After step 4 a checkpoint is due, and its weights show it first.
    """
    wild = config.with_settings(["training.save_steps=2", "training.lr_scheduler_type=constant", *NO_CHECKS])

    def poison(event, loaded) -> None:
        if is_done(poisoned, [event]):
            weight = next(w for n, w in loaded.model.named_parameters() if w.requires_grad and "lora_B" in n)
            weight.data.fill_(float("inf"))

    with pytest.raises(TrainingError) as failed:
        train_watched(wild, tmp_path, poison)
    assert failed.value.values.keys() == ({"loss", "step"} if found_in == "loss" else {"step"})
    assert failed.value.values["step"] == 4
    assert [*checkpoints(tmp_path)] == [2]
    assert not (tmp_path / "adapter").exists()


def test_weights_that_are_not_finite_are_not_saved_without_checkpoints_either(config, tmp_path):
    bare = config.with_settings(["training.max_steps=2", "training.save_steps=0", *NO_CHECKS])

    def poison(event, loaded) -> None:
        if is_done(2, [event]):
            next(w for w in loaded.model.parameters() if w.requires_grad).data.fill_(float("nan"))

    with pytest.raises(TrainingError) as failed:
        train_watched(bare, tmp_path, poison)
    assert failed.value.values == {"step": 2}
    assert not (tmp_path / "adapter").exists()
