"""Runs that end during their warm-up: what is said agrees with the rates that the library computes."""

import pytest

from core.memory.cards import Card
from core.memory.model_shape import shape_of
from core.problems import ConfigError
from core.settings.run_config import RunConfig
from core.settings.steps import check_schedule, warmup_warning
from core.settings.training_section import TrainingConfig
from tests.conftest import small_config, train_for
from ui.terminal.estimate_lines import as_values

SCHEDULES = [*TrainingConfig.model_fields["lr_scheduler_type"].annotation.__args__]
WARMUPS = [0, 0.1, 0.5, 0.9, 0.99, 1, 1.9, 2, 5, 10, 100]


def rates(training: TrainingConfig, steps: int) -> list[float]:
    """The share of the learning rate at each step, from transformers' own arguments and scheduler."""
    import torch
    from transformers import TrainingArguments
    from transformers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    arguments = TrainingArguments(output_dir="unused", warmup_steps=training.warmup_steps, use_cpu=True)
    scheduler = get_scheduler(training.lr_scheduler_type, optimizer, arguments.get_warmup_steps(steps), steps)
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_is_said_is_what_the_library_does(unsloth, schedule):
    for warmup in WARMUPS:
        training = TrainingConfig(lr_scheduler_type=schedule, warmup_steps=warmup)
        for steps in (1, 2, 5, 10):
            said = warmup_warning(training, steps)
            try:
                highest = max(rates(training, steps))
            except ZeroDivisionError:
                with pytest.raises(ConfigError) as told:
                    check_schedule(training, steps)
                assert told.value.values == {"steps": steps} and said
                continue
            check_schedule(training, steps)
            assert bool(said) == (highest < 1), (warmup, steps)
            assert ("nothing is learned" in said) == (highest == 0)
            assert f"rises to {highest:.0%} of its value" in said or highest in (0, 1)


def test_nothing_is_said_of_a_number_of_steps_that_is_unknown():
    assert warmup_warning(TrainingConfig(max_steps=-1), 0) == ""


def test_one_step_with_a_warm_up_is_told_before_and_in_the_receipt(unsloth, stories, rows, tmp_path):
    by_epochs = ["training.max_steps=-1", "training.gradient_accumulation_steps=8", "training.warmup_steps=0.1"]
    config = small_config(stories, rows, *by_epochs, "data.validation_share=0")
    _, events, result = train_for(config, tmp_path / "adapter")
    (done,) = [event for event in events if event.type == "step"]
    assert (result.steps, done.learning_rate) == (1, 0.0)
    said = warmup_warning(config.training, 1)
    assert said in events[0].notes


def test_the_estimate_on_the_command_line_says_it():
    config = RunConfig().with_settings(["model.model_name=presets/demo-llama", "training.max_steps=1"])
    shape, card = shape_of(config.model), Card(name="RTX 3060 12GB", memory_gib=12)
    said = warmup_warning(config.training, 1)
    assert said and as_values(config, shape, card, None)["warning"].endswith(said)
    longer = config.with_settings(["training.max_steps=20"])
    assert "warm-up" not in as_values(longer, shape, card, None)["warning"].lower()
