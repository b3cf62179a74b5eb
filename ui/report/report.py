"""A run as one HTML file that a person can send to a friend: it needs no network and no program, and runs no script.

Told is what the run was and how it went; not told are the person's note, logs, and folders of the machine. Everything
that a person or a model wrote is escaped. Knows nothing of torch, threads or the page's layout.
"""

import re
import time
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.comparing.proof import load_proof
from core.disk.atomic import write_whole
from core.problems import RunError
from core.runs.run_folder import Run
from core.runs.snapshot import Snapshot
from core.settings.paths import PROJECT_DIR
from core.settings.run_config import RunConfig
from ui.compare.proof_view import proof_text
from ui.report.report_parts import (
    card,
    facts,
    folded,
    measures_text,
    settings_text,
    short_name,
    short_names,
    votes_text,
)
from ui.shared.formatting import duration_or_dash, loss, notice, when
from ui.shared.line_chart import charts
from ui.train.receipt_view import receipt_text
from ui.train.run_figures import finished_text, heldout_text
from ui.train.samples_view import samples_text

FILE = "report.html"
STYLE = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
MOST_BYTES = 180_000  # of each of ten parts, so that the whole stays under 2 MB whatever the run
IN_IT = (
    "Read the report before you send it to anyone: it holds texts of your own, such as prompts with their answers, rows "
    "that were measured, and votes."
)
LIBRARIES = ("torch", "unsloth", "transformers", "trl", "peft", "bitsandbytes", "datasets", "scipy", "gradio")

# Folders of some machine, as a library's message may name one: a person's own with the name in it, then any.
_HOME = r"(?:/home|/Users|[A-Za-z]:[\\/](?:Users|Documents and Settings))[\\/]"
_BELOW_HOME = re.compile(rf"{_HOME}[^\\/\n]*[\\/]")
_HOME_ALONE = re.compile(rf"""{_HOME}[^\s/\\'"<>|;,]*""")
_FOLDERS = re.compile(r"""(?<![\w/.:])(?:[A-Za-z]:[\\/]|\\\\|~/|/)(?:[^\s/\\'"<>|;,]+[\\/])*([^\s/\\'"<>|;,]*)""")
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


def write_report(run: Run) -> Path:
    """Makes the report and writes it into the run's folder, in place of an older one. Raises OSError."""
    place = run.folder / FILE
    write_whole(place, make_report(run))
    return place


def make_report(run: Run) -> str:
    """The whole file's text, under 2 MB. Parts of which the run has nothing are left out."""
    snapshot = _without_folders(run.snapshot())
    try:
        config = run.config()
    except RunError:  # damaged: the rest can still be told
        config = None
    proof = load_proof(run.folder)
    parts = {
        "summary": _summary(snapshot, config),
        "figures on rows kept back": heldout_text(snapshot.heldout) if snapshot.heldout else "",
        "figures at the end": finished_text(snapshot),
        "curves": card("Curves", charts(snapshot)) if snapshot.steps or snapshot.evaluations else "",
        "samples": samples_text(snapshot),
        "measures": measures_text(run.folder),
        "votes": votes_text(run.folder),
        "proof": f"<h2>Proof, of {when(proof.made)}</h2>{proof_text(proof)}" if proof else "",
        "receipt": receipt_text(snapshot.receipt) if snapshot.receipt else "",
        "settings": (settings_text(config) if config else "") + _libraries(),
    }
    body = "\n".join(_bounded(name, html) for name, html in parts.items() if html)
    name = escape(run.name)
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{name}</title>\n'
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main><h1>{name}</h1>\n{body}\n"
        f"<footer>Made by HearthTune, {when(time.time())}. It may hold texts of the person who made it, such as prompts "
        "with their answers, rows that were measured, and votes.</footer></main></body></html>\n"
    )
    # Half of a surrogate pair, which a damaged file can hold, is no text that could be written.
    return _without_private(page, run).encode("utf-8", "replace").decode()


def _summary(snapshot: Snapshot, config: RunConfig | None) -> str:
    rows = []
    if snapshot.started is not None:
        rows.append(("Trained", when(snapshot.started)))
    if config:
        in_4bit = ", in 4-bit" if config.model.load_in_4bit else ""
        rows.append(("Base", escape(short_name(config.model.model_name)) + in_4bit))
        rows.append(("Rows from", short_names(config.data.path)))
    if snapshot.step:
        of = f" of {snapshot.max_steps:,}" if snapshot.step < snapshot.max_steps else ""
        rows.append(("Steps", f"{snapshot.step:,}{of}"))
        rows.append(("Training took", duration_or_dash(snapshot.steps[-1].elapsed)))
    if snapshot.best:
        rows.append(("Best validation loss", f"{loss(snapshot.best.eval_loss)}, at step {snapshot.best.step:,}"))
    kind = {"completed": "good", "failed": "error"}.get(snapshot.status, "warning")
    return notice(snapshot.message or f"This run is {snapshot.status}.", kind) + facts(rows)


def _libraries() -> str:
    rows = []
    for name in LIBRARIES:
        try:
            rows.append((name, escape(version(name))))
        except PackageNotFoundError:
            continue
    return card("Libraries", folded("Their versions when this report was made", facts(rows)))


def _bounded(name: str, html: str) -> str:
    if len(html.encode("utf-8", "replace")) <= MOST_BYTES:
        return html
    said = f"The {name} of this run {'is' if name in ('summary', 'proof', 'receipt') else 'are'} too long for a report"
    return card(name.capitalize(), f"<p>{said}; look in the run's folder.</p>")


# What must not leave the machine


def _without_folders(told: Snapshot) -> Snapshot:
    """What libraries and the system said, with only the last part of each path in it."""
    receipt, done = told.receipt, told.finished
    if receipt:
        changes = (
            change.model_copy(update={key: without_path(getattr(change, key)) for key in ("asked", "runs", "reason")})
            for change in receipt.changes
        )
        notes = tuple(map(without_path, receipt.notes))
        receipt = receipt.model_copy(update={"notes": notes, "changes": tuple(changes)})
    if done and done.adapter_dir:
        done = done.model_copy(update={"adapter_dir": "kept with the run"})
    return told.model_copy(update={"message": without_path(told.message), "receipt": receipt, "finished": done})


def without_path(text: str) -> str:
    """The text with each absolute path cut down to its last part."""
    text = _HOME_ALONE.sub("…", _BELOW_HOME.sub("~/", text))
    return _FOLDERS.sub(lambda found: found[1] or "…", text)


def _without_private(page: str, run: Run) -> str:
    """Without the folders of this machine, and without anything that looks like a token of the hub."""
    own = {run.folder, run.folder.parent, PROJECT_DIR, Path.cwd(), Path.home()}
    forms = {form for path in own for form in (str(path), str(path.resolve()))}
    for folder in sorted(forms, key=len, reverse=True):
        path = Path(folder)
        if len(path.parts) - bool(path.anchor) >= 2:  # one name alone, such as /main, is no secret, and may be a tag's
            page = page.replace(escape(folder), "…")
    return _HUB_TOKEN.sub("…", page)
