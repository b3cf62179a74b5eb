"""Checkpoints on the real trainer: what stands in them, which are kept, and that going on from one changes nothing."""

import shutil

import pytest
from safetensors.torch import load_file

from core.problems import RunError, TrainingError
from core.runs.checkpoint_list import list_checkpoints
from core.runs.events import CheckpointSaved, Evaluated, Sampled, StepDone
from tests.conftest import small_config, train_for, write_rows

STEPS = 13
SETTINGS = [  # dropout, so that the random states matter; two epochs and a half, so that the order of rows does
    f"training.max_steps={STEPS}", "training.eval_steps=4", "training.save_steps=3", "training.save_total_limit=100",
    "adapter.lora_dropout=0.2", "training.sample_prompts=[Say red., Say blue.]", "training.warmup_steps=3",
    "training.lr_scheduler_type=cosine",
]  # fmt: skip


@pytest.fixture(scope="module")
def config(stories, rows):
    return small_config(stories, rows, *SETTINGS)


@pytest.fixture(scope="module")
def whole(unsloth, config, tmp_path_factory):
    """A run that nothing interrupts: its folder, its events."""
    folder = tmp_path_factory.mktemp("whole")
    _, events, result = train_for(config, folder / "adapter")
    assert result.steps == STEPS and not result.was_stopped
    return folder, events


def adapter_bytes(folder) -> bytes:
    return (folder / "adapter/adapter_model.safetensors").read_bytes()


def told(events, since: int = 0) -> list:
    """What a run tells of each step after `since`, without times."""
    kinds = (StepDone, Evaluated, Sampled)
    dropped = {"time", "elapsed"}
    return [e.model_dump(exclude=dropped) for e in events if isinstance(e, kinds) and e.step > since]


def copy_of(folder, tmp_path, step: int):
    """The checkpoint of `step` in a run's folder of its own, beside an adapter that was kept before."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_model.safetensors").write_bytes(b"kept")
    shutil.copytree(folder / "checkpoints" / f"step-{step}", tmp_path / "checkpoints" / f"step-{step}")
    return list_checkpoints(tmp_path / "checkpoints")[0]


def test_a_checkpoint_is_written_every_so_many_steps_at_each_best_check_and_at_the_end(whole):
    folder, events = whole
    best, at_best = float("inf"), set()
    for event in events:
        if isinstance(event, Evaluated) and event.eval_loss < best:
            best = event.eval_loss
            at_best.add(event.step)
    assert 4 in at_best  # one that is no multiple of three
    wanted = sorted({3, 6, 9, 12, 13} | at_best)
    assert [checkpoint.step for checkpoint in list_checkpoints(folder / "checkpoints")] == wanted
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == wanted
    checked = {event.step: event.eval_loss for event in events if isinstance(event, Evaluated)}
    assert {c.step: c.eval_loss for c in list_checkpoints(folder / "checkpoints")} == {
        s: checked.get(s) for s in wanted
    }


def test_no_checkpoint_holds_a_pickle(whole):
    folder, _ = whole
    files = {file.name for file in (folder / "checkpoints/step-6").iterdir()}
    assert {"adapter_model.safetensors", "optimizer.safetensors", "resume.json", "trainer_state.json"} <= files
    assert {file.rpartition(".")[2] for file in files} <= {"safetensors", "json", "jinja", "md", "model"}


@pytest.mark.parametrize("step", [3, 4, 9, 12, STEPS])
def test_going_on_from_a_checkpoint_ends_bit_equal(whole, config, tmp_path, step):
    folder, events = whole
    checkpoint = copy_of(folder, tmp_path, step)
    _, again, result = train_for(config, tmp_path / "adapter", resume_from=checkpoint)
    assert told(again, step) == told(events, step)
    assert adapter_bytes(tmp_path) == adapter_bytes(folder)
    assert result.steps == STEPS
    assert result.train_loss == pytest.approx(sum(e.loss for e in events if isinstance(e, StepDone)) / STEPS, rel=1e-12)


@pytest.mark.parametrize("moment", ["step", "check"])
def test_a_stop_can_be_resumed_where_it_was(whole, config, tmp_path, moment):
    """Stopped within a step or within a check, which is then done first."""
    folder, events = whole
    last, asked = {"step": 7, "check": 8}[moment], []
    seen = []

    def should_stop() -> bool:
        """True the second time it is asked after that step: within the next, or within the check that follows."""
        if any(isinstance(event, StepDone) and event.step == last for event in seen):
            asked.append(True)
        return len(asked) > 1

    from core.training.train import train
    from tests.conftest import load_for, prepare_for

    loaded = load_for(config)
    result = train(loaded, config, prepare_for(config, loaded), tmp_path / "adapter", seen.append, should_stop)
    assert result.was_stopped and result.steps == last
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    assert newest.step == result.steps
    _, again, _ = train_for(config, tmp_path / "adapter", resume_from=newest)
    both = told(seen) + told(again)
    assert both == told(events)
    losses = [{c.step: c.eval_loss for c in list_checkpoints(f / "checkpoints")} for f in (tmp_path, folder)]
    checked = {event.step: event.eval_loss for event in events if isinstance(event, Evaluated)}
    assert losses[0] == losses[1] | {last: checked.get(last)}
    assert adapter_bytes(tmp_path) == adapter_bytes(folder)


def test_the_newest_few_and_the_best_are_kept(config, unsloth, tmp_path):
    wild = ["training.learning_rate=0.1", "training.embedding_learning_rate=0.3", "training.lr_scheduler_type=constant"]
    few = config.with_settings(
        ["training.save_total_limit=2", "training.eval_steps=3", "training.weight_decay=0", *wild]
    )
    _, events, _ = train_for(few, tmp_path / "adapter")
    checked = {event.step: event.eval_loss for event in events if isinstance(event, Evaluated)}
    best = min(checked, key=checked.get)
    assert best < 12  # too high a rate: it gets worse
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path / "checkpoints")] == [best, 12, STEPS]
    last = [event for event in events if isinstance(event, CheckpointSaved)][-1]
    assert last.kept == (best, 12, STEPS)


def test_checks_and_samples_change_nothing(whole, config, tmp_path):
    folder, _ = whole
    bare = config.with_settings(["training.eval_steps=0", "training.sample_prompts=[]", "training.save_steps=0"])
    train_for(bare, tmp_path / "adapter")
    assert not (tmp_path / "checkpoints").exists()
    ours, theirs = (load_file(f / "adapter/adapter_model.safetensors") for f in (tmp_path, folder))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not ours[name].equal(theirs[name])] == []


def test_other_rows_are_refused(whole, config, tmp_path):
    folder, _ = whole
    checkpoint = copy_of(folder, tmp_path, 6)
    other = config.with_settings([f"data.path={write_rows(tmp_path / 'other.json', 11)}"])
    with pytest.raises(TrainingError) as refused:
        train_for(other, tmp_path / "adapter", resume_from=checkpoint)
    assert "The rows are not those that this run began with" in str(refused.value)
    assert f"{tmp_path.name}/checkpoints/step-6" in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "file"), [("adapter.r=4", "adapter"), ("adapter.target_modules=[q_proj]", "adapter")]
)
def test_other_layers_are_refused(whole, config, tmp_path, setting, file):
    folder, _ = whole
    checkpoint = copy_of(folder, tmp_path, 6)
    with pytest.raises(RunError, match="was made for other layers than these settings train"):
        train_for(config.with_settings([setting]), tmp_path / "adapter", resume_from=checkpoint)
    assert adapter_bytes(tmp_path) == b"kept"


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "optimizer.safetensors", "resume.json", "trainer_state.json", "progress.json"]
)
def test_a_damaged_checkpoint_is_refused_by_name(whole, config, tmp_path, name):
    folder, _ = whole
    checkpoint = copy_of(folder, tmp_path, 6)
    file = checkpoint.folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(RunError, match="cannot be read") as refused:
        train_for(config, tmp_path / "adapter", resume_from=checkpoint)
    assert "step-6" in str(refused.value)
    assert adapter_bytes(tmp_path) == b"kept"


@pytest.mark.parametrize("optim", ["sgd", "adafactor"])
def test_an_optimizer_that_keeps_little_or_otherwise_is_resumed_too(unsloth, config, tmp_path, optim):
    other = config.with_settings([f"training.optim={optim}", "training.max_steps=6", "training.sample_prompts=[]"])
    _, events, _ = train_for(other, tmp_path / "whole/adapter")
    checkpoint = copy_of(tmp_path / "whole", tmp_path, 3)
    _, again, _ = train_for(other, tmp_path / "adapter", resume_from=checkpoint)
    assert told(again) == told(events, 3) and adapter_bytes(tmp_path) == adapter_bytes(tmp_path / "whole")


def test_early_stopping_goes_back_to_the_best(unsloth, config, tmp_path):
    early = config.with_settings(
        [
            "training.early_stopping_patience=2",
            "training.eval_steps=1",
            "training.learning_rate=0.5",
            "training.max_steps=50",
        ]
    )
    _, events, result = train_for(early, tmp_path / "adapter")
    checked = [event for event in events if isinstance(event, Evaluated)]
    best = min(checked, key=lambda event: event.eval_loss)
    assert result.steps == best.step + 2 == checked[-1].step < 50
    assert result.ending == (
        f"Ended early at step {result.steps}: 2 checks brought no lower validation loss than {best.eval_loss:.4g} at step "
        f"{best.step}. The adapter is that of step {best.step}, the best."
    )
    kept = load_file(tmp_path / f"checkpoints/step-{best.step}/adapter_model.safetensors")
    ours = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert all(ours[name].equal(kept[name].to(ours[name].dtype)) for name in kept)


def test_a_check_that_was_due_may_be_the_one_that_ends_the_run(unsloth, config, tmp_path):
    """Stopped within the check that early stopping goes by: resumed, it ends there and trains no step more."""
    early = config.with_settings(
        [
            "training.early_stopping_patience=1",
            "training.eval_steps=1",
            "training.learning_rate=0.5",
            "training.max_steps=50",
        ]
    )
    _, events, whole = train_for(early, tmp_path / "whole/adapter")
    seen = []

    def should_stop() -> bool:
        return any(isinstance(event, StepDone) and event.step == whole.steps for event in seen)

    from core.training.train import train
    from tests.conftest import load_for, prepare_for

    loaded = load_for(early)
    assert train(loaded, early, prepare_for(early, loaded), tmp_path / "adapter", seen.append, should_stop).was_stopped
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    assert newest.step == whole.steps
    _, again, result = train_for(early, tmp_path / "adapter", resume_from=newest)
    assert told(seen) + told(again) == told(events)
    assert (result.steps, result.ending) == (whole.steps, whole.ending)
    assert adapter_bytes(tmp_path) == adapter_bytes(tmp_path / "whole")


def test_stop_at_loss(unsloth, config, whole, tmp_path):
    _, events = whole
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    wanted = sorted(losses)[4]
    first = next(step for step, loss in enumerate(losses, 1) if loss <= wanted)
    _, events, result = train_for(config.with_settings([f"training.stop_at_loss={wanted}"]), tmp_path / "adapter")
    assert result.steps == first and not result.was_stopped
    assert result.ending == f"Ended at step {first}, whose loss of {losses[first - 1]:.4g} is not above {wanted:g}."
    assert [event.step for event in events if isinstance(event, Evaluated)][-1] == first
    assert list_checkpoints(tmp_path / "checkpoints")[-1].step == first


@pytest.mark.parametrize(
    ("poisoned", "what"), [(5, "The loss became"), (4, "The trained weights hold values that are no numbers")]
)
def test_a_number_that_is_none_ends_the_run_and_the_last_good_checkpoint_stays(
    unsloth, config, tmp_path, poisoned, what
):
    wild = config.with_settings(["training.max_steps=40", "training.save_steps=2", "training.eval_steps=0",
                                 "training.sample_prompts=[]", "training.lr_scheduler_type=constant"])  # fmt: skip
    from core.training.train import train
    from tests.conftest import load_for, prepare_for

    loaded = load_for(wild)

    def poison(event) -> None:
        """After that step a weight is infinite, as after a gradient that overflowed; step 4 is one that is saved."""
        if isinstance(event, StepDone) and event.step == poisoned:
            weight = next(w for n, w in loaded.model.named_parameters() if w.requires_grad and "lora_B" in n)
            weight.data.fill_(float("inf"))

    with pytest.raises(TrainingError) as told_why:
        train(loaded, wild, prepare_for(wild, loaded), tmp_path / "adapter", poison, lambda: False)
    turned = 6 if poisoned == 5 else 4
    assert str(told_why.value).startswith(what)
    assert str(told_why.value).endswith(f" at step {turned}: lower the learning rates or lengthen the warm-up.")
    assert [c.step for c in list_checkpoints(tmp_path / "checkpoints")] == list(range(2, turned, 2))
    assert not (tmp_path / "adapter").exists()


def test_weights_that_are_no_numbers_are_not_called_an_adapter_without_checkpoints_either(unsloth, config, tmp_path):
    bare = config.with_settings(
        ["training.max_steps=3", "training.save_steps=0", "data.validation_share=0", "training.sample_prompts=[]"]
    )
    from core.training.train import train
    from tests.conftest import load_for, prepare_for

    loaded = load_for(bare)

    def poison(event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            next(w for w in loaded.model.parameters() if w.requires_grad).data.fill_(float("nan"))

    with pytest.raises(TrainingError, match="The trained weights hold values that are no numbers at step 3"):
        train(loaded, bare, prepare_for(bare, loaded), tmp_path / "adapter", poison, lambda: False)
    assert not (tmp_path / "adapter").exists()
