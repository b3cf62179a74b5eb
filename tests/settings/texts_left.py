"""Finds texts in the source that look like texts for a person and are not marked for translation."""

import ast
import re
from collections.abc import Iterator

from jinja2 import nodes

from core.settings.update_catalogs import texts_of
from tests.conftest import PROJECT
from ui.shared.html import environment

# Folders and files of which all texts are marked and translated.
FINISHED: tuple[str, ...] = ("app.py", "core/", "presets/", "ui/")
ENGLISH = ("ui/terminal/", "ui/icons/")  # what the command line prints, its errors excepted; and a script

# Texts that are no person's, by file: how they begin, or the name of the constant that they are.
EXEMPT: dict[str, tuple[str, ...]] = {
    "app.py": (  # the help of the command line
        "A graphics card,", "A question.", "Address to", "Create a public", "Do not open", "Fine-tune a Llama at home",
        "Let anyone", "Measure ", "Open a window", "Port to", "Require this", "Run a public", "Run this shell",
        "Language of the page",
    ),
    "core/answering/rows_in_one_pass.py": ("The same words", "And fewer"),
    "core/comparing/votes.py": ("the contender is",),
    "core/data/columns/column_names.py": (
        "TURNS", "ALPACA", "PAIRS", "INPUTS", "SYSTEMS", "TOOLS", "TITLES", "TEXTS", "LABELS", "METADATA", "ANSWERS",
    ),
    "core/data/files/file_kinds.py": (r"\s*(<!doctype",),
    "core/data/files/json_stream.py": ("a value of more than",),  # its limit is told instead
    "core/data/prompts/named_templates.py": ("{{- bos_token",),  # Jinja
    "core/data/hub/hub_rows.py": ("Not enough disk space",),  # how a library's message begins
    "core/data/prepared/conversations.py": ("ROLE_NAMES",),
    "core/data/prompts/answer_ends.py": ("Are you there?",),
    "core/data/prompts/messages.py": ("You can call these functions.",),  # to the model
    "core/data/prompts/prompt_templates.py": ("TEMPLATES",),
    "core/demo/__main__.py": ("Make the demo model", "folder to write to"),
    "core/demo/build.py": ("step {}/{}",),
    "core/demo/lessons.py": ("",),  # all of it is the demo's language
    "core/demo/recipe_rows.py": ("",),  # rows
    "core/demo/tokenizer.py": ("CHAT_TEMPLATE",),
    "core/demo/words.py": ("",),
    "core/disk/atomic.py": ("No space left", "os error"),  # in messages of the system
    "core/export/card.py": ("",),  # the model card is English, for the hub
    "core/export/chat_parts.py": ("{{", "if eq $previous", "{%-"),
    "core/export/gguf_check.py": ("SAMPLES",),
    "core/export/hub_worker.py": ("the token",),
    "core/export/modelfile.py": ("PARAMETER stop",),
    "core/evaluation/heldout.py": ("the base", "the tuned model"),
    "core/memory/cards.py": ("CARDS", "LAPTOP_CARDS", "OF_A_SIZE"),
    "core/memory/model_shape.py": ("another kind of model",),
    "core/memory/probe_record.py": ("the estimate has other parts",),
    "core/model/device_memory.py": ("OUT_OF_MEMORY_TEXTS",),
    "core/model/fingerprint.py": ("A small proof: ",),
    "core/model/library_patches/peft_parts.py": (
        "loading state_dict for Peft", "not found in the base model", "No modules were targeted",
    ),
    "core/model/library_patches/trainer_parts.py": ("the optimizer does not have this weight",),
    "core/model/new_adapter.py": ("token_ids are given",),
    "core/runs/events.py": ("there must be one answer per prompt",),
    "core/settings/reasons.py": ("Value error",),
    "core/settings/update_catalogs.py": ("a text", "python -m"),
    "core/training/run_job.py": ("the base", "the tuned model"),
    "core/training/script_export.py": ("EMPTY",),
    "core/training/train_script.py": (  # is exported as it is, and runs without this app
        "A step of", "The adapter is in", "the base model", "optimizer steps", "rows per pass", "passes per step",
        "{} is not the file of rows",
    ),
    "core/visitors/run_queue.py": ("queue of runs",),
    "core/visitors/visit_parts.py": ("blind test",),
    "core/visitors/visits.py": ("blind test", "tidying up"),
    "core/workbench/export_run.py": (" at step {}",),  # of the model card
    "core/workbench/model_contents.py": ("a base has no adapter", "at least one adapter", "{} is not on the model"),
    "core/workbench/one_blind_test.py": ("blind test",),
    "core/workbench/push_checkpoints.py": ("The trained adapter", "Checkpoint at step {}"),  # messages of commits
    "ui/compare/blind_tab.py": ("EXAMPLES", "KEYS"),
    "ui/compare/chat_kept.py": ("LOOK_FOR_KEPT", "BEGIN_TO_KEEP", "KEEP", "it is not a pane's key"),
    "ui/compare/chat_scripts.py": (
        "FOLLOW", "FOCUS_PROMPT", "ASK_SAMPLE", "_HEADS", "HEADS_OF", "ADD_HEAD", "REMOVE_RIGHT", "REMOVE_THIRD",
        "_COPY_ALL", "_SAVE", "KEEP_ERROR_OF_UNASKED", "NO_ERROR_ONCE_LOADED",
    ),
    "ui/compare/proof.html": ("line 1: proof card",),
    "ui/data/rows_view.py": ("SEND_BLANKS",),
    "ui/desktop/shortcut.py": (  # is a part of launch.py
        "COMMENT", "HearthTune is now ", "The shortcut cannot be made", "PowerShell says", "[Desktop Entry]",
        "exec open -a Terminal", "$link = ",
    ),
    "ui/desktop/window.py": ("ON_MACOS",),
    "ui/export/export.html": ("ollama run", "line 1: python app.py bring-in"),
    "ui/export/export_cards.py": ("main",),
    "ui/export/export_view.py": ("Hugging Face", "ollama create", "ollama run"),
    "ui/export/script_view.py": ("FLAVORS", "uv run", "accelerate launch", "hf jobs uv run", "--secrets HF_TOKEN"),
    "ui/gradio_patches.py": ("LIGHTER",),
    "ui/live.py": ("_PAUSE", "_FETCH", "_WAIT", "_ASK"),
    "ui/model/own_presets.py": ("_SEND_TITLE",),
    "ui/model/welcome.py": ("#data-path textarea", "#upload button"),
    "ui/on_load.py": ("_REMEMBERED", "ON_LOAD"),
    "ui/page.py": ("FONT", "Apple SD Gothic", "Malgun Gothic", "Noto Sans", "Cascadia Mono", "HearthTune"),
    "ui/report/report.py": ("POLICY", "_HOME"),
    "ui/runs/opened_run.py": ("SCROLL_TO_OPENED", "(words, said)", "config.yaml"),
    "ui/shared/choices.py": ("_TELL",),
    "ui/shared/clicks.py": ("CLICKS", "COPY", "LEAD_THERE"),
    "ui/shared/run_charts.py": ("corrected by a probe", "One chart has room", "run run-"),
    "ui/sidebar.py": ("corrected by a probe",),
    "ui/train/before_start.py": ("#fill-in",),
    "ui/train/queue_panel.py": ("_SEND_VARIED", "_FOCUS_MOVED"),
    "ui/train/receipt.html": ("line 1: facts embeddings",),
    "ui/train/run_figures.py": ("corrected by a probe",),
    "ui/train/samples.html": ("line 1: card samples",),
}  # fmt: skip

_WORDS = re.compile(r"[A-Za-z]{2,},? [A-Za-z(]{2,}")  # two words, one after the other
_WORD = re.compile(r"[A-Za-z]{2,}")
_SHOWN = {"label", "info", "placeholder", "title", "description", "help", "about"}  # arguments that are shown
_SHOWN_IN_TAGS = re.compile(r'\b(?:title|aria-label|placeholder|alt)="([^"]*)"')
_TAGS, _HIDDEN = re.compile(r"<[^>]*>"), re.compile(r"<(script|style)\b.*?</\1>", re.DOTALL)
_EXPRESSION = "\0"


def in_python() -> dict[str, list[str]]:
    """By file, literals that are not marked: two words and more, or one that is given as a label or the like."""
    found = {}
    for path in (PROJECT / "app.py", *sorted([*(PROJECT / "core").rglob("*.py"), *(PROJECT / "ui").rglob("*.py")])):
        name = path.relative_to(PROJECT).as_posix()
        if name.startswith(FINISHED) and not name.startswith(ENGLISH):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found[name] = list(_not_marked(tree, EXEMPT.get(name, ())))
    return found


def _not_marked(tree: ast.Module, exempt: tuple[str, ...]) -> Iterator[str]:
    skipped = {id(part) for _, texts in texts_of(tree) for text in texts for part in ast.walk(text)}
    shown = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            skipped |= {id(s.value) for s in node.body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in exempt:
            skipped |= {id(part) for part in ast.walk(node.value)}
        elif isinstance(node, ast.Call):
            if _is_of_a_log(node.func):
                skipped |= {id(part) for text in node.args for part in ast.walk(text)}
            shown |= {id(keyword.value) for keyword in node.keywords if keyword.arg in _SHOWN}
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            skipped |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        looks = _WORD if id(node) in shown else _WORDS
        if id(node) not in skipped and looks.search(text) and not text.startswith(exempt or "\0"):
            yield f"line {node.lineno}: {text}"


def _is_of_a_log(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in {"debug", "info", "warning", "exception"}


def in_template() -> dict[str, list[str]]:
    """By file, words of templates that are not marked."""
    found = {}
    for path in sorted((PROJECT / "ui").rglob("*.html")):
        name = path.relative_to(PROJECT).as_posix()
        if name.startswith(FINISHED) and not name.startswith(ENGLISH):
            source = path.read_text(encoding="utf-8")
            exempt = EXEMPT.get(name, ())
            texts = [*_between_tags(source), *_in_expressions(source)]
            found[name] = [text for text in texts if not text.startswith(exempt or "\0")]
    return found


def _between_tags(source: str) -> Iterator[str]:
    kept = []
    for _, kind, value in environment().lex(environment().preprocess(source)):
        kept.append(value if kind == "data" else _EXPRESSION if kind.endswith("_begin") else "")
    text = _HIDDEN.sub("", "".join(kept))
    shown = [*_TAGS.sub(_EXPRESSION, text).split(_EXPRESSION), *_SHOWN_IN_TAGS.findall(text)]
    yield from (part.strip() for part in shown if _WORD.search(re.sub(r"&\w+;", "", part)))


def _in_expressions(source: str) -> Iterator[str]:
    tree = environment().parse(source)
    marked = {
        id(argument)
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name in ("tr", "trn")
        for argument in call.args[:2]
    }
    for node in tree.find_all(nodes.Const):
        if isinstance(node.value, str) and id(node) not in marked and _WORDS.search(node.value):
            yield f"line {node.lineno}: {node.value}"
