"""Who may import what: the right-hand column of the design, read from the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

LIBRARIES = {"torch", "unsloth", "unsloth_zoo", "transformers", "trl", "peft", "bitsandbytes"}


def imports(source: str) -> set[str]:
    """Dotted names of all modules imported anywhere in the source, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def imports_of(path: Path) -> set[str]:
    return imports(path.read_text(encoding="utf-8"))


def touching(found: set[str], names: set[str]) -> set[str]:
    """Those of `found` that are one of the names or below it."""
    return {module for module in found if any(module == name or module.startswith(f"{name}.") for name in names)}


def sources(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(PROJECT)) for path in PROJECT.glob(pattern))


def test_the_reader_of_imports_sees_every_kind():
    source = "import a.b as c\nfrom d.e import f\ndef g():\n    try:\n        import h\n    except E: from i import j\n"
    assert imports(source) == {"a.b", "d.e", "d.e.f", "h", "i", "i.j"}
    assert touching({"torch.nn", "torchvision", "torch"}, {"torch"}) == {"torch.nn", "torch"}


def test_the_modules_are_where_they_are_looked_for():
    names = (
        "compare config events hardware hub messages model preparation presets receipt runs templates train workbench"
    )
    assert {f"core/{name}.py" for name in names.split()} <= set(sources("core/*.py"))
    assert {f"core/dataset/{name}.py" for name in "prepared readers render survey view".split()} <= set(
        sources("core/dataset/*.py")
    )


@pytest.mark.parametrize("path", sources("core/**/*.py"))
def test_core_knows_nothing_of_gradio_and_the_page(path):
    assert not touching(imports_of(PROJECT / path), {"gradio", "gradio_client", "ui", "app", "launch"})


@pytest.mark.parametrize("path", sources("core/**/*.py"))
def test_only_model_and_train_import_unsloth(path):
    found = touching(imports_of(PROJECT / path), {"unsloth", "unsloth_zoo"})
    assert not found or path in ("core/model/load.py", "core/training/train.py")


@pytest.mark.parametrize("path", sources("ui/**/*.py"))
def test_the_page_knows_nothing_of_torch(path):
    assert not touching(imports_of(PROJECT / path), LIBRARIES)


MUST_NOT_KNOW = {
    "core/settings/run_config.py": {*LIBRARIES, "core", "threading"},
    "core/settings/presets.py": {*LIBRARIES, "threading"},
    "core/runs/thinning.py": {*LIBRARIES, "core", "threading"},
    "core/runs/events.py": {
        *LIBRARIES,
        "threading",
        *(f"core.{Path(p).stem}" for p in sources("core/*.py") if "thinning" not in p),
    },
    "core/runs/run_folder.py": LIBRARIES,
    "core/model/model_files.py": {*LIBRARIES, "threading"},
    "core/memory/hardware.py": {"core", "unsloth", "transformers"},
    **{
        path: {*LIBRARIES, "core.model.load", "core.training.train", "core.answering.stream", "threading"}
        for path in sources("core/dataset/*.py")
    },
    "core/data/prompts/messages.py": {*LIBRARIES, "core"},
    "core/data/prompts/chat_template.py": {*LIBRARIES, "core.settings.run_config", "core.data", "core.model.load"},
    "core/data/prompts/prompt_templates.py": {*LIBRARIES, "core.settings.run_config", "core.data", "core.model.load"},
    "core/workbench/rows_of_the_form.py": {
        *LIBRARIES,
        "threading",
        "core.training.train",
        "core.workbench.workbench",
        "core.runs.run_folder",
    },
    "core/model/load.py": {"threading", "core.training.train", "core.workbench.workbench", "core.runs.run_folder"},
    "core/training/train.py": {"threading", "core.workbench.workbench", "core.runs.run_folder"},
    **{
        path: {*LIBRARIES, "threading", "core.model.load", "core.workbench.workbench", "core.runs.run_folder"}
        for path in sources("core/estimate/*.py")
    },
    "core/memory/probe_log.py": {*LIBRARIES, "threading", "core.model.load", "core.workbench.workbench"},
    "core/training/step_probe.py": {"threading", "core.workbench.workbench", "core.runs.run_folder"},
    "core/training/largest_batch.py": {"threading", "core.workbench.workbench", "core.runs.run_folder"},
    "core/memory/embeddings_cost.py": {*LIBRARIES, "threading", "core.model.load", "core.workbench.workbench"},
    "core/training/receipt.py": {"threading", "core.workbench.workbench", "core.runs.run_folder"},
    "core/evaluation/heldout.py": {"threading", "core.workbench.workbench", "core.runs.run_folder"},
    "core/runs/adapter_ref.py": {*LIBRARIES, "core"},
    "core/model/adapters_on_base.py": {"threading", "core.workbench.workbench", "core.runs.run_folder"},
    "core/model/weight_changes.py": {"threading", "core.workbench.workbench", "core.runs.run_folder"},
    "core/comparing/proof.py": {"threading", "core.workbench.workbench"},
    "core/comparing/votes.py": {*LIBRARIES, "core.model.load", "core.workbench.lab", "core.workbench.workbench"},
    "core/comparing/word_differences.py": {*LIBRARIES, "core", "threading"},
    "ui/report/report.py": {"threading", "gradio"},
    "ui/shared/settings_form.py": {"threading", "core.training.train", "core.workbench.workbench"},
    "ui/shared/line_chart.py": {"threading", "gradio"},
}


@pytest.mark.parametrize("path", MUST_NOT_KNOW)
def test_what_a_module_must_not_know(path):
    assert not touching(imports_of(PROJECT / path), MUST_NOT_KNOW[path])


def test_the_launcher_needs_only_the_standard_library():
    found = {name.split(".")[0] for name in imports_of(PROJECT / "launch.py")}
    assert found <= sys.stdlib_module_names


def test_presets_hold_no_code():
    assert sources("presets/**/*.py") == []


def test_the_light_modules_do_not_bring_torch_in_by_the_back_door():
    modules = "config presets events runs hub hardware templates sampling dataset model train heldout compare workbench"
    modules += " adapters lab panes votes blind proof moved differences conversation evaluation prompt_sets"
    modules += " estimate probe probe_record probing batch_search embeddings token_rows row_copies"
    lines = "; ".join(f"import core.{name}" for name in modules.split())
    check = f"import sys; {lines}; print(sorted(set(sys.modules).intersection({sorted({*LIBRARIES, 'gradio', 'scipy', 'sacrebleu', 'rouge_score'})!r})))"
    answer = subprocess.run([sys.executable, "-c", check], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
