"""Which folder may import which, read from the source: imports inside functions count as well."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import PROJECT

# Each folder or file of the code, from the bottom up. A file imports from its own folder and from levels below.
LEVELS: list[set[str]] = [
    {"core.problems"},
    {"core.disk", "core.threads", "core.families"},
    {"core.settings", "core.demo"},
    {"core.hub_names"},
    {"core.runs", "core.data"},
    {"core.memory"},
    {"core.model"},
    {"core.answering"},
    {"core.evaluation", "core.comparing"},
    {"core.export"},
    {"core.training"},
    {"core.workbench"},
    {"core.visitors"},
    {"ui"},
    {"app", "bench"},
]
TRAINING_LIBRARIES = {"torch", "unsloth", "unsloth_zoo", "transformers", "trl", "peft", "bitsandbytes"}
WITHOUT_THE_LIBRARIES = [
    "core.problems",
    "core.disk",
    "core.threads",
    "core.families",
    "core.hub_names",
    "core.settings",
    "core.runs",
    "core.data",
    "core.memory",
]
EXCEPT = {"core.memory.hardware": {"torch"}}  # asks the driver through torch, inside a function
REACH_UNSLOTH = {"core.model", "core.training"}
MAX_CORE_ENTRIES, MAX_LEVELS, MAX_FILE_LINES, MAX_FUNCTION_LINES = 18, 12, 300, 60


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    module_of(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in [
        PROJECT / "app.py",
        *(p for folder in ("core", "ui", "bench") for p in (PROJECT / folder).rglob("*.py")),
    ]
}


def imports(tree: ast.AST) -> set[str]:
    """Dotted names of everything imported anywhere in the source: modules, and names out of them."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def touching(found: set[str], names: set[str]) -> set[str]:
    """Those of `found` that are one of the names, or inside it."""
    return {module for module in found if any(module == name or module.startswith(f"{name}.") for name in names)}


def place_of(module: str) -> tuple[int, str] | None:
    """The level, counted from the bottom, and the folder of a module of this project."""
    for level, folders in enumerate(LEVELS):
        for folder in folders:
            if touching({module}, {folder}):
                return level, folder
    return None


def modules_imported(module: str) -> set[str]:
    """Modules of this project that one imports."""
    found = imports(SOURCES[module])
    return {name for name in found if name in SOURCES and name != module and name != module.rpartition(".")[0]}


@cache
def level_of(module: str) -> int:
    """How many modules lie on the longest way down from one, itself included."""
    return 1 + max((level_of(name) for name in modules_imported(module)), default=0)


def test_the_reader_of_imports_sees_every_kind():
    source = "import a.b as c\nfrom d.e import f\ndef g():\n    try:\n        import h\n    except E: from i import j\n"
    assert imports(ast.parse(source)) == {"a.b", "d.e", "d.e.f", "h", "i", "i.j"}
    assert touching({"torch.nn", "torchvision", "torch"}, {"torch"}) == {"torch.nn", "torch"}


def test_every_module_has_its_place():
    assert [module for module in SOURCES if module != "core" and place_of(module) is None] == []
    assert {folder for level in LEVELS for folder in level} <= {
        ".".join(module.split(".")[: size + 1]) for module in SOURCES for size in range(2)
    }


def test_imports_point_down():
    wrong = []
    for module in SOURCES:
        for name in modules_imported(module):
            (ours, folder), (theirs, other) = place_of(module) or (0, ""), place_of(name) or (0, "")
            if folder != other and theirs >= ours:
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def test_no_module_imports_itself_through_others():
    open_modules: list[str] = []

    def visit(module: str) -> None:
        assert module not in open_modules, " > ".join([*open_modules, module])
        open_modules.append(module)
        for name in sorted(modules_imported(module)):
            if name not in done:
                visit(name)
        done.add(open_modules.pop())

    done: set[str] = set()
    for module in SOURCES:
        visit(module)


def test_core_knows_nothing_of_the_page():
    pages = {"gradio", "gradio_client", "ui", "app", "launch"}
    assert {m: found for m in SOURCES if m.startswith("core") and (found := touching(imports(SOURCES[m]), pages))} == {}


def test_the_page_knows_nothing_of_torch():
    assert {
        m: found for m in SOURCES if m.startswith("ui") and (found := touching(imports(SOURCES[m]), TRAINING_LIBRARIES))
    } == {}


def test_the_lower_folders_know_nothing_of_the_training_libraries():
    wrong = {}
    for module in touching(set(SOURCES), set(WITHOUT_THE_LIBRARIES)):
        if found := touching(imports(SOURCES[module]), TRAINING_LIBRARIES - EXCEPT.get(module, set())):
            wrong[module] = found
    assert wrong == {}


def test_only_two_folders_reach_unsloth():
    """Through `import_unsloth` too, which hands out the package."""
    unsloth = {"unsloth", "unsloth_zoo", "core.model.unsloth_start.import_unsloth"}
    reach = {m for m in SOURCES if m.startswith(("core", "ui", "app")) and touching(imports(SOURCES[m]), unsloth)}
    assert {".".join(module.split(".")[:2]) for module in reach} == REACH_UNSLOTH


def test_the_launcher_needs_only_the_standard_library():
    found = {name.split(".")[0] for name in imports(ast.parse((PROJECT / "launch.py").read_text(encoding="utf-8")))}
    assert found <= sys.stdlib_module_names


def test_presets_hold_no_code():
    assert list((PROJECT / "presets").rglob("*.py")) == []


def test_importing_core_brings_in_no_heavy_library():
    modules = sorted(m for m in SOURCES if m.startswith("core.") and not m.startswith("core.demo"))
    lazy = "core.training.callback"  # a subclass of transformers' own callback
    modules.remove(lazy)
    heavy = sorted({*TRAINING_LIBRARIES, "gradio", "scipy", "sacrebleu", "rapidfuzz", "datasets", "pyarrow"})
    check = f"import sys, {', '.join(modules)}; print(sorted(set(sys.modules).intersection({heavy!r})))"
    answer = subprocess.run([sys.executable, "-c", check], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_core_has_few_entries():
    entries = [path.name for path in (PROJECT / "core").iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert len(entries) <= MAX_CORE_ENTRIES, sorted(entries)


def test_core_has_few_import_levels():
    deepest = max((m for m in SOURCES if m.startswith("core")), key=level_of)
    chain = [deepest]
    while below := modules_imported(chain[-1]):
        chain.append(max(below, key=level_of))
    assert len(chain) <= MAX_LEVELS, "\n".join(chain)


@pytest.mark.parametrize("folder", ["core", "ui", "bench", "app"])
def test_files_and_functions_are_short(folder):
    long = []
    for module in touching(set(SOURCES), {folder}):
        functions = [n for n in ast.walk(SOURCES[module]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        last = max((node.end_lineno for node in SOURCES[module].body), default=0)
        if last > MAX_FILE_LINES:
            long.append(f"{module}: {last} lines")
        for function in functions:
            lines = function.end_lineno - function.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                long.append(f"{module}.{function.name}: {lines} lines")
    assert long == []
