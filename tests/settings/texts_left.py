"""Finds texts in the source that look like texts for a person and are not marked for translation."""

import ast
import re
from collections.abc import Iterator

from jinja2 import nodes

from core.settings.update_catalogs import texts_of
from tests.conftest import PROJECT
from ui.shared.html import environment

# Folders and files of which all texts are marked and translated. It grows until it has app.py, core/, ui/ and presets/.
FINISHED: tuple[str, ...] = ("presets/",)

# Texts that are no person's, by file: how they begin, or the name of the constant that they are.
EXEMPT: dict[str, tuple[str, ...]] = {
    "core/settings/update_catalogs.py": ("a text", "python -m"),
}

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
        if name.startswith(FINISHED):
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
        if name.startswith(FINISHED):
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
