"""A run as one HTML file that a person can send to a friend: it opens offline in any browser, and runs no script.

It shows what the run was and how it went. It leaves out the person's note, logs, and folders of the machine.
"""

import re
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from markupsafe import Markup, escape

from core.comparing.proof import load_proof
from core.disk.atomic import write_whole
from core.problems import LANGUAGE, RunError, mark, tr
from core.runs.adapter_ref import Pane
from core.runs.run_folder import Run
from core.runs.snapshot import Snapshot
from core.settings.paths import PROJECT_DIR
from core.settings.run_config import RunConfig
from ui.compare.proof_view import proof_text
from ui.export.export_view import tested_text
from ui.report.report_parts import TEMPLATE, measures_text, settings_text, short_name, short_names, votes_text
from ui.shared.formatting import duration_or_dash, loss, pane_label, run_label, when
from ui.shared.html import of_file, render, render_part
from ui.shared.run_charts import charts
from ui.train.receipt_view import receipt_text
from ui.train.run_figures import finished_text, heldout_text
from ui.train.samples_view import samples_text

REPORT_FILE = "report.html"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
PART_BYTES = 180_000  # at most for each of ten parts, so that a report stays under 2 MB whatever the run
BEFORE_SENDING = mark(
    "Read the report before you send it to anyone: it contains your texts, such as prompts with their answers, "
    "measured rows, and votes."
)
LIBRARIES = ("torch", "unsloth", "transformers", "trl", "peft", "bitsandbytes", "datasets", "scipy", "gradio")

# Folders that a library's message may name: a home folder with the person's name in it, then any other.
_HOME = r"(?:/home|/Users|[A-Za-z]:[\\/](?:Users|Documents and Settings))[\\/]"
_BELOW_HOME = re.compile(rf"{_HOME}[^\\/\n]*[\\/]")
_HOME_ALONE = re.compile(rf"""{_HOME}[^\s/\\'"<>|;,]*""")
_FOLDERS = re.compile(r"""(?<![\w/.:])(?:[A-Za-z]:[\\/]|\\\\|~/|/)(?:[^\s/\\'"<>|;,]+[\\/])*([^\s/\\'"<>|;,]*)""")
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


def write_report(run: Run) -> Path:
    """Writes the report into the run's folder, replacing an older one. Raises OSError."""
    place = run.folder / REPORT_FILE
    write_whole(place, make_report(run))
    return place


def make_report(run: Run) -> str:
    """The text of the file, under 2 MB. Parts for which the run has no data are left out."""
    snapshot = _without_folders(run.snapshot())
    try:
        config = run.config()
    except RunError:  # damaged: the rest can still be shown
        config = None
    parts = [bounded(title, html) for title, html in _parts(run, snapshot, config) if html]
    return whole_page(run.name, parts, [run.folder])


def whole_page(name: str, parts: list[Markup], folders: Iterable[Path]) -> str:
    """A report of these parts. Of folders of this machine, `folders` and those above them included, it has no path."""
    page = render(
        "report/report.html",
        language=LANGUAGE,
        policy=POLICY,
        name=name,
        style=of_file("report/report.css"),
        parts=parts,
        now=when(time.time()),
    )
    # Half of a surrogate pair, which a damaged file may hold, cannot be written as UTF-8.
    return _without_private(str(page), folders).encode("utf-8", "replace").decode()


def _parts(run: Run, snapshot: Snapshot, config: RunConfig | None) -> Iterator[tuple[str, Markup]]:
    """The parts, each with a title of its own, in the order of the report; empty where the run has nothing of it."""
    proof = load_proof(run.folder)

    def pane(one: Pane) -> str:
        return pane_label(one, _name_of(run, one.run_id))

    yield tr("Summary"), _summary(snapshot, config)
    yield tr("Figures on validation rows"), heldout_text(snapshot.heldout) if snapshot.heldout else Markup()
    yield tr("Figures at the end"), finished_text(snapshot)
    yield tr("Curves"), _card(tr("Curves"), charts(snapshot)) if snapshot.steps or snapshot.evaluations else Markup()
    yield tr("Samples"), samples_text(snapshot)
    yield tr("Measures"), measures_text(run.folder, lambda run_id: run_label(run_id, _name_of(run, run_id)))
    yield tr("Votes"), votes_text(run.folder, pane)
    dated = tr("Proof, {when}", when=when(proof.made)) if proof else ""
    yield tr("Proof"), _titled(dated, proof_text(proof, pane)) if proof else Markup()
    yield tr("Self-tests of exports"), tested_text(run)
    yield tr("Receipt"), receipt_text(snapshot.receipt) if snapshot.receipt else Markup()
    yield tr("Settings"), (settings_text(config) if config else Markup()) + libraries()


def _name_of(run: Run, run_id: str) -> str:
    """The name of the report's own run; another run's is not known here."""
    return run.name if run_id == run.id else ""


def _card(title: str, inner: Markup) -> Markup:
    return render_part(TEMPLATE, "titled_card", title=title, inner=inner)


def _titled(title: str, inner: Markup) -> Markup:
    return render_part(TEMPLATE, "titled", title=title, inner=inner)


def _summary(snapshot: Snapshot, config: RunConfig | None) -> Markup:
    rows = []
    if snapshot.started is not None:
        rows.append((tr("Started"), when(snapshot.started)))
    if config:
        model = short_name(config.model.model_name)
        rows.append((tr("Model"), tr("{model}, in 4-bit", model=model) if config.model.load_in_4bit else model))
        rows.append((tr("Dataset"), short_names(config.data.path)))
    if snapshot.step:
        step, steps = snapshot.step, snapshot.max_steps
        rows.append((tr("Steps"), tr("{step:,} of {steps:,}", step=step, steps=steps) if step < steps else f"{step:,}"))
        rows.append((tr("Training took"), duration_or_dash(snapshot.seconds)))
    if snapshot.best:
        best = tr("{loss}, at step {step:,}", loss=loss(snapshot.best.eval_loss), step=snapshot.best.step)
        rows.append((tr("Best validation loss"), best))
    kind = {"completed": "good", "failed": "error"}.get(snapshot.status, "warning")
    message = snapshot.message or tr("This run is {status}.", status=tr(snapshot.status))
    return render_part(TEMPLATE, "summary", message=message, kind=kind, rows=rows)


def libraries() -> Markup:
    """The libraries with their versions, folded."""
    versions = []
    for name in LIBRARIES:
        try:
            versions.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return render_part(TEMPLATE, "libraries", versions=versions)


def bounded(title: str, html: Markup) -> Markup:
    """The part, or a sentence in its place when it is too large."""
    if len(html.encode("utf-8", "replace")) <= PART_BYTES:
        return html
    return render_part(TEMPLATE, "too_long", title=title)


# What must not leave the machine


def _without_folders(told: Snapshot) -> Snapshot:
    """Messages, translated; those of libraries and the system keep only the last part of each path."""
    receipt, done = told.receipt, told.finished
    if receipt:
        changes = (
            change.model_copy(update={key: without_path(getattr(change, key)) for key in ("asked", "runs", "reason")})
            for change in receipt.changes
        )
        notes = tuple(map(without_path, receipt.notes))
        receipt = receipt.model_copy(update={"notes": notes, "changes": tuple(changes)})
    if done and done.adapter_dir:
        done = done.model_copy(update={"adapter_dir": tr("kept with the run")})
    return told.model_copy(update={"message": without_path(tr(told.message)), "receipt": receipt, "finished": done})


def without_path(text: str) -> str:
    """The text with each absolute path cut down to its last part."""
    text = _HOME_ALONE.sub("…", _BELOW_HOME.sub("~/", text))
    return _FOLDERS.sub(lambda found: found[1] or "…", text)


def _without_private(page: str, folders: Iterable[Path]) -> str:
    """Without the folders of this machine, and without anything that looks like a token of the hub."""
    own = {PROJECT_DIR, Path.cwd(), Path.home()}
    for folder in folders:
        own |= {folder, folder.parent}
    forms = {form for path in own for form in (str(path), str(path.resolve()))}
    for folder in sorted(forms, key=len, reverse=True):
        path = Path(folder)
        # A single name, such as /main, is no secret, and may be part of a tag.
        if len(path.parts) - bool(path.anchor) >= 2:
            page = page.replace(str(escape(folder)), "…")
    return _HUB_TOKEN.sub("…", page)
