"""The README.md of an export: the run's own figures, in the form that Hugging Face reads."""

import shutil
import time
from dataclasses import replace

from huggingface_hub import ModelCard

from core.evaluation.record import Evaluation, Measure
from core.evaluation.saved import save
from core.export.card import data_name, write_card
from core.runs.events import Finished, HeldOut
from core.settings.run_config import RunConfig


def card(source, to, tmp_path) -> ModelCard:
    write_card(tmp_path, source, to)
    return ModelCard.load(tmp_path / "README.md")


def test_it_has_the_figures_of_the_run(source, tmp_path):
    for event in (
        HeldOut(rows=64, base_loss=10.75, tuned_loss=0.052, base_exact=0.0, tuned_exact=0.859375),
        Finished(
            steps=1234, train_loss=1.70124, eval_loss=0.05, runtime_s=23.4, tokens_per_s=1400, peak_memory_gib=0.594,
            peak_memory_for_training_gib=0.08, total_memory_gib=24,
        ),
    ):  # fmt: skip
        source.run.append(event)
    found = card(source, "adapter", tmp_path)
    results = {result.metric_type: result.metric_value for result in found.data.eval_results}
    assert results == {"loss": 0.052, "exact_match": 0.859375}
    assert (found.data.library_name, found.data.base_model, found.data.model_name) == ("peft", None, "Stories")
    adapter = source.config.adapter
    for line in (
        "| steps | 1,234 |",
        "| training loss | 1.7012 |",
        "| peak memory | 0.59 GiB |",
        f"| adapter | rsLoRA, r 8, alpha {adapter.lora_alpha} |",
        "| exact match (64 rows) | 0 | 0.8594 | not measured |",
    ):
        assert line in found.text.splitlines()
    assert str(source.base_dir.parent) not in found.content, "no path of this machine"


def test_a_measurement_comes_with_its_interval(source, tmp_path):
    measure = Measure(key="loss", rows=200, better="lower", base=2.5, tuned=1.25, difference=-1.25, low=-1.5, high=-1.0)
    save(Evaluation(made=time.time(), rows=200, max_new_tokens=64, measures=(measure,)), source.run.folder)
    found = card(source, "merged", tmp_path)
    assert [(one.metric_type, one.metric_value) for one in found.data.eval_results] == [("loss", 1.25)]
    assert "| loss (200 rows) | 2.5 | 1.25 | -1.5 to -1 |" in found.text
    of_a_checkpoint = card(replace(source, step=6), "merged", tmp_path)
    assert "200 rows" not in of_a_checkpoint.text and "checkpoint at step 6" in of_a_checkpoint.text


def test_a_dataset_is_named_without_its_place():
    for path, name in (
        ("/home/ada/rows.jsonl", "rows.jsonl"),
        ("ada/poems", "ada/poems"),
        ("~/a.csv\n./b.csv", "a.csv, b.csv"),
    ):
        assert data_name(RunConfig().with_settings([f"data.path={path}"])) == name


def test_the_license_of_the_base_is_named(source, tmp_path):
    assert card(source, "adapter", tmp_path).data.license is None
    base = shutil.copytree(source.base_dir, tmp_path / "base")
    licensed = "license: other\nlicense_name: llama3.9\nlicense_link: https://example.com/license\ntags: [x]\n"
    (base / "README.md").write_text(f"---\n{licensed}---\n# A Llama\n")
    found = card(replace(source, base_dir=base), "merged", tmp_path)
    assert (found.data.license, found.data.license_name) == ("other", "llama3.9")
    assert found.data.license_link == "https://example.com/license" and ", llama3.9, applies to" in found.text
    (base / "README.md").write_text("---\n[: not a card\n---\n")
    assert card(replace(source, base_dir=base), "merged", tmp_path).data.license is None
