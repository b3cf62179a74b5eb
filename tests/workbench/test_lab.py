"""The lab: adapters on one base, loaded when they are needed, and each pane is what its name says."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from core.answering.sampling import Sampling
from core.data.prompts.system_prompts import SYSTEM_MOVED
from core.model.views import adapter_view
from core.problems import Busy, ModelError, RunError
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import list_runs
from core.settings.sections import ModelConfig
from core.workbench.desk import MEASURING
from core.workbench.prove_run import prove
from core.workbench.workbench import Workbench
from tests.conftest import PROMPT, data_file, small_config
from tests.data.test_system_prompts import GEMMA

SHORT = Sampling(max_new_tokens=8)
QUESTION = [{"role": "user", "content": PROMPT}]


@pytest.fixture(scope="module")
def bench(copied_runs) -> Workbench:
    """Two runs on one base, with the second one's adapter on it."""
    bench = Workbench(copied_runs)
    bench.lab.load_run(pane(bench, "two").run_id)
    return bench


def pane(bench: Workbench, name: str, step: int | None = None) -> Pane:
    return Pane(next(run.id for run in list_runs(bench.runs_dir) if run.name == name), step)


def texts(bench: Workbench, *panes: Pane) -> list[str]:
    *_, answers = bench.lab.answer(panes, [QUESTION] * len(panes), SHORT)
    return [answer.text for answer in answers]


def adapters_on(bench: Workbench) -> set[str]:
    return set(bench._slot.loaded.model.peft_config)


def test_what_can_be_compared(bench):
    one, two = pane(bench, "one"), pane(bench, "two")
    steps = [Pane(one.run_id, saved.step) for saved in reversed(bench.runs.open(one.run_id).checkpoints())]
    assert steps and bench.lab.choices() == [BASE, two, one, *steps]
    assert Workbench(bench.runs_dir).lab.choices() == [BASE]


def test_three_panes_answer_as_each_does_alone_and_in_their_order(bench):
    one, two = pane(bench, "one"), pane(bench, "two")
    together = texts(bench, two, BASE, one)
    fresh = Workbench(bench.runs_dir)
    for place, run in ((0, two), (2, one)):
        fresh.lab.load_run(run.run_id)
        *_, (base, tuned, difference) = fresh.lab.compare(PROMPT, "", SHORT)
        assert (together[place], together[1]) == (tuned.text, base.text) and difference > 0
    assert bench.lab.differences((BASE, one, BASE), QUESTION)[1] == 0.0


def test_only_what_is_shown_and_what_was_loaded_stays_on_the_model(bench):
    one = pane(bench, "one")
    bench.lab.load_run(pane(bench, "two").run_id)
    texts(bench, BASE, one)
    assert len(adapters_on(bench)) == 2
    step = next(found for found in bench.lab.choices() if found.run_id == one.run_id and found.step)
    texts(bench, BASE, step)
    assert len(adapters_on(bench)) == 2, "the one that was loaded, and the checkpoint's"


def test_an_adapter_that_changed_on_disk_is_put_on_anew(bench, tmp_path):
    one, two = pane(bench, "one"), pane(bench, "two")
    bench.lab.load_run(one.run_id)
    before, other = texts(bench, one)[0], texts(bench, two)[0]
    assert before != other
    folder, kept = bench.runs.open(one.run_id).adapter_dir, tmp_path / "kept"
    shutil.move(folder, kept)
    shutil.copytree(bench.runs.open(two.run_id).adapter_dir, folder)
    try:
        assert texts(bench, one)[0] == other
    finally:
        shutil.rmtree(folder)
        shutil.move(kept, folder)
    assert texts(bench, one)[0] == before


def test_a_damaged_adapter_costs_neither_the_one_that_is_loaded_nor_the_next_run(bench, tmp_path, stories, rows):
    one, two = pane(bench, "one"), pane(bench, "two")
    bench.lab.load_run(two.run_id)
    before = texts(bench, two)
    file = bench.runs.open(one.run_id).adapter_dir / "adapter_config.json"
    settings = file.read_text()
    file.write_text(json.dumps(json.loads(settings) | {"r": 3}))
    try:
        with pytest.raises(ModelError, match="is damaged: its weights have other shapes"):
            bench.lab.load_run(one.run_id)
        assert bench.lab.loaded_pane == two and texts(bench, two) == before
        fresh = Workbench(bench.runs_dir)
        with pytest.raises(ModelError, match="is damaged: its weights have other shapes"):
            fresh.lab.load_run(one.run_id)
        assert fresh.model_state.report is None and "is damaged" in fresh.model_state.error
    finally:
        file.write_text(settings)
    fresh.lab.load_run(one.run_id)
    assert texts(fresh, one) == texts(bench, one)


def test_an_adapter_that_no_run_was_made_of_does_not_stay(bench, stories, tmp_path):
    """A run that continues from an adapter and fails before training leaves a model that belongs to no run."""
    one, two = pane(bench, "one"), pane(bench, "two")
    wanted = texts(bench, one)
    empty = data_file(tmp_path / "rows.jsonl", *({"instruction": f"Say {n}.", "output": ""} for n in range(8)))
    config = small_config(stories, empty.path, f"adapter.continue_from={two.run_id}")
    bench.start(config, "going on")
    assert bench.wait(120).status == "failed"
    assert bench.model_state.report is None
    bench.lab.load_run(one.run_id)
    assert texts(bench, one) == wanted


def test_looking_gives_no_weight_gradients(bench):
    one = pane(bench, "one")
    bench.lab.load_run(one.run_id)
    texts(bench, BASE, one)
    loaded = bench._slot.loaded
    with adapter_view(loaded, None):
        pass
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_a_base_that_a_proof_has_refuted_is_loaded_anew(bench):
    one = pane(bench, "one")
    bench.lab.load_run(one.run_id)
    before = bench._slot.loaded
    weight = before.model.get_input_embeddings().original_module.weight
    with torch.no_grad():
        weight[:, 0] += 1
    run = bench.runs.open(one.run_id)
    assert prove(bench.lab, run).base_is_equal is False
    bench.lab.load_run(one.run_id)
    assert bench._slot.loaded is not before
    assert prove(bench.lab, run).base_is_equal is True


def test_what_cannot_be_asked_is_a_sentence(bench, stories):
    one = pane(bench, "one")
    with pytest.raises(RunError, match="gone"):
        texts(bench, BASE, Pane("gone"))
    with pytest.raises(RunError, match="77"):
        texts(bench, BASE, Pane(one.run_id, 77))
    bench.lab.load_run(one.run_id)
    run = bench.runs.open(one.run_id)
    other = Pane(Path(shutil.copytree(run.folder, run.folder.with_name("20200101-000000-in-16-bit"))).name)
    in_16_bit = run.config().with_settings(["model.load_in_4bit=no"])
    (run.folder.with_name(other.run_id) / "config.yaml").write_text(in_16_bit.to_yaml())
    assert other not in bench.lab.choices()
    with pytest.raises(RunError) as told:
        texts(bench, BASE, other)
    assert told.value.values == {"run": other.run_id, "model": str(stories), "bits": 16}
    with bench.lab.using([BASE], MEASURING), pytest.raises(Busy) as told:
        texts(bench, BASE)
    assert told.value.values == {"doing": MEASURING}
    assert len(texts(bench, BASE, one)) == 2


def test_a_chat_says_what_became_of_its_system_prompt(unsloth, runs_dir):
    bench = Workbench(runs_dir)
    bench.load_model(ModelConfig(model_name="presets/demo-llama", max_seq_length=64))
    conversation = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The cat sleeps."}]
    folded = [{"role": "user", "content": "Be brief.\n\nThe cat sleeps."}]
    assert bench.lab.note_on_prompts([BASE], [conversation]) == "", "the demo's template has a system role"
    bench._slot.loaded.tokenizer.chat_template = GEMMA
    assert bench.lab.note_on_prompts([BASE], [conversation]) == f"{SYSTEM_MOVED[:1].upper()}{SYSTEM_MOVED[1:]}."
    assert bench.lab.note_on_prompts([BASE], [folded]) == ""
    *_, (answer,) = bench.lab.answer([BASE], [conversation], SHORT)
    *_, (same,) = bench.lab.answer([BASE], [folded], SHORT)
    assert answer.text and answer.text == same.text
