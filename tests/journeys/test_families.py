"""A tiny random model of each family from its training in 4-bit to what is taken home, on the real libraries."""

from dataclasses import dataclass

import pytest

from core.export.export import write_export
from core.export.find_source import find_source
from core.export.gguf_models import OTHER_MODEL, OTHER_SETTING, architecture
from core.export.llama_cpp import running
from core.export.wanted import Wanted
from core.families import FAMILIES
from core.problems import ExportError
from core.runs.run_folder import create_run
from tests.conftest import PROJECT, next_logits, small_config, train_for
from tests.tiny_models import TINY, config_of, save_tiny

TRAINED = MERGED = tuple(TINY)
GGUF = ("llama", "mistral", "gemma2", "gemma3_text", "smollm3")
# llama.cpp has these fixed: no window for Mistral, all but each sixth layer for Gemma 3.
AS_LLAMA_CPP = {
    "mistral": {"sliding_window": None},
    "gemma3_text": {"num_hidden_layers": 6},
    "smollm3": {"num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0]},
}
IDS = [1, 403, 407, 261, 378]


@dataclass(frozen=True)
class Taken:
    """A run of a family, with the logits after a prompt: of base and tuned when it had been trained, and reloaded."""

    source: object
    fresh_base: object
    base: object
    tuned: object
    reloaded_base: object
    reloaded: object
    next: object  # log-probabilities after IDS
    receipt: object


@pytest.fixture(scope="module", params=TRAINED)
def taken(request, unsloth, stories, rows, tmp_path_factory) -> Taken:
    import torch

    from core.model.load import load
    from core.model.new_adapter import attach_adapter

    kind, place = request.param, tmp_path_factory.mktemp(request.param)
    folder = save_tiny(kind, stories, place / "model", **AS_LLAMA_CPP.get(kind, {}))
    config = small_config(folder, rows, "adapter.modules_to_save=[]", "model.dtype=float32", "training.max_steps=3")
    run = create_run(place / "runs", kind, config)
    loaded = load(config.model, use_gradient_checkpointing=False)
    assert loaded.report.linear_layers_4bit == len(FAMILIES[kind].layers) * loaded.model.config.num_hidden_layers
    fresh = next_logits(loaded)
    attach_adapter(loaded, config.adapter, False, 0)
    _, events, _ = train_for(config, run.adapter_dir, loaded=loaded)
    again = load(config.model, None, run.adapter_dir, use_gradient_checkpointing=False)
    again.model.eval()
    with torch.inference_mode():
        after = again.model(torch.tensor([IDS])).logits[0, -1].float().log_softmax(-1)
    return Taken(
        find_source(place / "runs", run.id), fresh, next_logits(loaded, base=True), next_logits(loaded),
        next_logits(again, base=True), next_logits(again), after, events[0],
    )  # fmt: skip


def kind_of(taken: Taken) -> str:
    return taken.source.run.name


def test_it_trains_compares_and_reloads(taken):
    assert {one.name for one in taken.receipt.adapted} == set(FAMILIES[kind_of(taken)].layers)
    assert taken.fresh_base.equal(taken.base) and taken.base.equal(taken.reloaded_base)
    assert (taken.tuned - taken.base).abs().max() > 0.01
    assert taken.tuned.equal(taken.reloaded)


def test_merged_it_answers_as_it_was_tried(taken, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    write_export(taken.source, Wanted("merged", tmp_path / "out", "float32"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="float32")
    with torch.inference_mode():
        found = model(torch.tensor([IDS])).logits[0, -1].log_softmax(-1)
    assert (found - taken.next).abs().max() < 2e-3


def test_as_gguf_it_answers_so_too_or_is_refused_by_name(taken, tmp_path):
    kind, wanted = kind_of(taken), Wanted("gguf", tmp_path / "out", "float32", "trained", ("f32",))
    if kind not in GGUF:
        with pytest.raises(ExportError) as caught:
            write_export(taken.source, wanted)
        assert (caught.value.template, caught.value.values) == (OTHER_MODEL, {"kind": kind})
        return
    write_export(taken.source, wanted)
    (file,) = (tmp_path / "out").glob("*.gguf")
    with running(file, 64) as llama:
        assert abs(llama.log_probabilities(IDS, 512) - taken.next.numpy()).max() < 2e-3


@pytest.mark.parametrize(
    ("kind", "changes", "setting"),
    [
        ("mistral", {"sliding_window": 4096}, "sliding_window"),
        ("gemma2", {"query_pre_attn_scalar": 144}, "query_pre_attn_scalar"),
        ("gemma2", {"layer_types": ["full_attention"] * 2}, "layer_types"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers"),
    ],
)
def test_what_llama_cpp_has_no_form_for_is_refused_by_name(unsloth, kind, changes, setting):
    values = config_of(kind, **changes).to_dict()
    with pytest.raises(ExportError) as caught:
        architecture(values)
    told = {"kind": kind, "setting": setting, "value": values[setting]}
    assert (caught.value.template, caught.value.values) == (OTHER_SETTING, told)


def test_the_table_of_the_readme_says_what_the_tests_find():
    from tests.memory.test_families_memory import ESTIMATED

    assert set(GGUF) == {kind for kind, family in FAMILIES.items() if family.gguf}
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    for line in families_table(ESTIMATED):
        assert line in readme.splitlines()
    assert readme.count("| yes | yes | yes |") == len(TINY)


def families_table(estimated) -> list[str]:
    lines = ["| family | trains, compares, reloads | memory estimate | merged model | GGUF | layers to adapt |"]
    for kind, family in FAMILIES.items():
        if family.is_counted:
            found = (kind in TRAINED, kind in estimated, kind in MERGED, kind in GGUF)
            cells = [family.title, *("yes" if is_so else "no" for is_so in found), f"`{'`, `'.join(family.layers)}`"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines
