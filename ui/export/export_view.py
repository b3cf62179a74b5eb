"""The Export tab as HTML: what each kind of export is for, and the exports that were made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from core.export.checks import Check
from core.export.estimate import bytes_of, seconds_of
from core.export.ollama import model_name
from core.export.record import GGUF_KINDS, Exported, load_exports
from core.export.wanted import Wanted, default_folder
from core.problems import mark, tr
from core.runs.run_folder import Run
from ui.export.script_view import commands
from ui.shared.formatting import disk, when
from ui.shared.html import render_part

TEMPLATE = "export/export.html"
TITLES = {  # shown with `tr`, as PURPOSES are
    "adapter": mark("Adapter"),
    "merged": mark("Merged model"),
    "gguf": "GGUF",
    "ollama": mark("GGUF for Ollama"),
    "lora-gguf": mark("LoRA as GGUF"),
    "script": mark("Script"),
    "push": "Hugging Face",
}
PURPOSES = {
    "adapter": mark("Only what training changed. PEFT loads it onto the base model."),
    "merged": mark("One complete model in safetensors, for transformers, vLLM and most other programs."),
    "gguf": mark("For Ollama, LM Studio and llama.cpp: a complete model in one file."),
    "script": mark("train.py with the rows beside it: trains the same adapter on another machine, without this app."),
    "push": mark(
        "Exports, tests and uploads it. Needs a token with write access: enter it on the Model tab, under More."
    ),
}
FAILED_TEST = mark(
    "Self-test failed: {files} does not answer as the trained model does. Do not use it; it was kept under another "
    "name."
)
NOT_TESTED = mark("Not tested: it may not answer as the trained model does.")


@dataclass(frozen=True)
class Sizes:
    """What is known of a run's model: its weights (0 if they are not known), the bytes of the adapter's file, and those
    that are free on the disk."""

    parameters: int = 0
    adapter: int = 0
    free: int = 0


def head_text(kind: str, wanted: Wanted | None, sizes: Sizes) -> Markup:
    """What an export is for, how much disk it takes, and how long making it takes."""
    if wanted is None:
        rows = []
    elif wanted.to in ("adapter", "lora-gguf"):
        rows = [(tr("Disk"), _disk(sizes.adapter, sizes.free)), (tr("Time"), tr("a few seconds"))]
    else:
        size, seconds = bytes_of(sizes.parameters, wanted.kinds), seconds_of(sizes.parameters, wanted.kinds)
        rows = [(tr("Disk"), _disk(size, sizes.free)), (tr("Time"), rough(seconds) if size else tr("unknown"))]
    return render_part(TEMPLATE, "head", title=tr(TITLES[kind]), purpose=tr(PURPOSES[kind]), rows=rows)


def _disk(size: int, free: int) -> str:
    return tr("about {size} ({free:,.0f} GB free)", size=disk(size), free=free / 1e9) if size else tr("unknown")


def rough(seconds: float) -> str:
    """A time that is only known roughly: a few seconds, about 40 s, about 3 min."""
    if seconds < 5:
        return tr("a few seconds")
    if seconds < 95:
        return tr("about {seconds:.0f} s", seconds=round(seconds, -1))
    return tr("about {minutes:.0f} min", minutes=seconds / 60)


def made_text(run: Run, exports: Sequence[Exported], can_open: bool, has_ollama: bool = False) -> Markup:
    """The exports of a run: where they are, what their self-test found, and what to do with them."""
    return render_part(TEMPLATE, "made", exports=[_made(run, one, can_open, has_ollama) for one in exports])


def script_text(run: Run) -> Markup:
    """The script of a run, if it was written, with the commands that train it."""
    folder = default_folder(run, "script")
    if not (folder / "train.py").is_file():
        return Markup()
    return render_part(TEMPLATE, "script", folder=str(folder.resolve()), commands=commands(run, folder.resolve()))


def tested_text(run: Run) -> Markup:
    """What the self-tests of a run's exports found; empty if none was tested."""
    tested = [one for one in load_exports(run) if one.checks]
    shown = [{"title": _title(one), "rows": [_check(check) for check in one.checks]} for one in tested]
    return render_part(TEMPLATE, "tested", exports=shown) if shown else Markup()


def link(run: Run, exported: Exported, name: str = "") -> str:
    """Where the page serves a file of an export, or all of them as a zip file."""
    return "export-file?" + urlencode({"run": run.id, "made": repr(exported.made), "name": name})


def _made(run: Run, one: Exported, can_open: bool, has_ollama: bool) -> dict[str, Any]:
    if one.failed:
        result = tr(FAILED_TEST, files=tr(" and ").join(check.file for check in one.failed)), "error"
    else:
        result = (tr("Self-test passed."), "good") if one.passed else (tr(NOT_TESTED), "warning")
    return {
        "title": _title(one),
        "about": when(one.made),
        "result": result[0],
        "kind": result[1],
        "folder": str(one.out),
        "can_open": can_open,
        "all": link(run, one) if len(one.files) > 1 else "",
        "files": [
            {"name": file.path.name, "size": disk(file.bytes), "link": link(run, one, file.path.name)}
            for file in one.files
        ],
        "checks": [_check(check) for check in one.checks],
        "losses": _losses(one),
        "modelfile": str(next(iter(_modelfiles(one)), "")) if has_ollama else "",
        "uses": _uses(one, model_name(run.short_name)),
    }


def _losses(one: Exported) -> str:
    """Both losses of an export onto the original weights; empty for others."""
    if not one.checks or one.checks[0].loss_as_tried is None:
        return ""
    tried, original = one.checks[0].loss_as_tried, one.checks[0].loss_of_model
    return tr(
        "Loss on the rows of the self-test: {tried:.4f} as you tried it, {original:.4f} on the original weights.",
        tried=tried,
        original=original,
    )


def _title(one: Exported) -> str:
    title = tr(TITLES[one.wanted.to])
    return title if one.step is None else tr("{title}, checkpoint at step {step:,}", title=title, step=one.step)


def _check(check: Check) -> dict[str, Any]:
    losses = ("–" if loss is None else f"{loss:.4f}" for loss in (check.loss, check.loss_of_model))
    figures = [
        f"{check.max_logit_difference:.2g}",
        f"{check.mean_kl:.2g}",
        f"{check.top1:.2%}",
        tr("{equal} of {all}", equal=check.greedy_equal, all=check.greedy_of),
        *losses,
    ]
    return {"file": check.file, "figures": figures, "passed": check.passed}


def _modelfiles(one: Exported) -> list[Path]:
    """Those of files that passed."""
    failed = {check.file for check in one.failed}
    of_file = {f"Modelfile-{Path(name).stem}" for name in failed} | ({"Modelfile"} if failed else set())
    return [f.path for f in one.files if f.path.name.startswith("Modelfile") and f.path.name not in of_file]


def _uses(one: Exported, name: str) -> list[tuple[str, list[str]]]:
    """Sentences and commands for the programs that read the export."""
    files = [file.path for file in one.files if file.path.suffix == ".gguf"]
    if one.wanted.to not in GGUF_KINDS or not files:
        return []
    found = []
    if modelfiles := _modelfiles(one):
        commands = [f"ollama create {name} -f {_quoted(modelfiles[0])}", f"ollama run {name}"]
        found.append((tr("Ollama: start it, then create the model and chat with it:"), commands))
    if one.wanted.to != "lora-gguf":
        place = Path("~") / ".lmstudio" / "models" / "hearthtune" / name
        words = tr("LM Studio: put the .gguf file into {folder}; it then appears under My Models.", folder=place)
        found.append((words, []))
        found.append((tr("llama.cpp: chat with it:"), [f"llama-cli -m {_quoted(files[0])}"]))
    else:
        command = f"llama-cli -m BASE.gguf --lora {_quoted(files[0])}"
        found.append((tr("llama.cpp: load the adapter together with a GGUF file of its base:"), [command]))
    return found


def _quoted(path: Path) -> str:
    return f'"{path}"' if " " in str(path) else str(path)
