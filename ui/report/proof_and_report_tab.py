"""The Proof tab: a button that proves base and tuned, its receipt, and the run's report."""

import secrets
import shutil
from pathlib import Path

import gradio as gr

from core.comparing.proof import PROOF_FILE, load_proof
from core.disk.tolerant_reading import in_words
from core.problems import Problem, RunError, mark, tr
from core.runs.adapter_ref import Pane
from core.runs.run_folder import Run
from core.runs.uploads import uploads_dir
from core.workbench.desk import PROVING
from core.workbench.prove_run import prove
from core.workbench.workbench import Workbench
from ui.compare.proof_view import proof_text
from ui.report.report import BEFORE_SENDING, write_report
from ui.report.report_parts import TEMPLATE
from ui.shared.errors import clear_on
from ui.shared.formatting import notice
from ui.shared.html import render_part
from ui.shared.run_names import RunNames

WHAT = mark(
    "The proof checks that the base is unchanged and that the tuned model differs from it. When the model was "
    "loaded, before any adapter was attached, its logits for a fixed prompt were hashed. The proof hashes them again "
    "with the adapter off and on."
)
READY = mark(
    "The report of {run} is ready: one file that opens in any browser, even offline; a copy is kept with the run."
)


class ProofTab:
    """Layout and handlers; `live` says what its parts show now. `token` is not used; all tabs take it."""

    def __init__(self, workbench: Workbench, token: gr.Textbox):
        self._workbench, self._names = workbench, RunNames(workbench.runs)
        self._made: dict[str, Path] = {}  # the last report of each run
        self._drawn: tuple[tuple, str] = ((), "")  # the last receipt: what it was drawn from, and its HTML
        gr.HTML(render_part(TEMPLATE, "sentence", words=tr(WHAT)), padding=False)
        with gr.Row(elem_id="proof-buttons"):
            self.prove = gr.Button(tr("Prove it"), variant="primary", elem_id="prove")
            self.make = gr.Button(tr("Make the report"), elem_id="make-report")
            self.file = gr.DownloadButton(tr("Download the report"), visible=False, elem_id="report-file")
        gr.HTML(render_part(TEMPLATE, "soft", words=tr(BEFORE_SENDING)), padding=False, elem_id="report-holds")
        self.hint = gr.HTML(padding=False, elem_id="proof-hint")
        self.trouble = gr.HTML(padding=False, elem_id="proof-trouble")
        self.loaded = gr.Textbox(visible="hidden")  # changes when another adapter has been loaded
        self.receipt = gr.HTML(padding=False, elem_id="proof-receipt")

    def connect(self) -> None:
        self.prove.click(self._prove, None, [self.trouble], api_name="prove_it", api_visibility="private")
        clear_on([self.loaded.change], self.trouble)
        self.make.click(self._report, None, [self.trouble], api_name="make_report", api_visibility="private")

    def live(self) -> dict:
        state, busy = self._workbench.model_state, self._workbench.busy_with
        if state.report is None:
            words = tr("No model is loaded: finish a run, or load one on the Compare tab.")
        elif not state.adapter:
            words = tr("Only the base is loaded: load a run on the Compare tab to prove it against its base.")
        else:
            words = tr("This must wait: {doing}.", doing=tr(busy)) if busy and busy != PROVING else ""
        has_run, proving = bool(state.adapter), busy == PROVING
        made = self._made.get(state.adapter)
        return {
            self.loaded: {"value": Pane(state.adapter, state.step).key} if state.adapter else {},
            self.prove: {"interactive": has_run and not busy, "value": tr("Proving…") if proving else tr("Prove it")},
            self.make: {"interactive": has_run},
            self.file: {"visible": made is not None, "value": made and str(made)},
            self.hint: {"value": notice(words)},
            self.receipt: {"value": self._receipt()},
        }

    def _run(self) -> Run:
        adapter = self._workbench.model_state.adapter
        if not adapter:
            raise RunError("There is no tuned model: load a run on the Compare tab first.")
        return self._workbench.runs.open(adapter)

    def _receipt(self) -> str:
        """The last proof of the loaded adapter, drawn anew when its file has changed."""
        adapter = self._workbench.model_state.adapter
        folder = next((row.folder for row in self._workbench.runs.rows() if row.id == adapter), None)
        if folder is None:
            return ""
        try:
            drawn_from = folder, self._names.run(adapter), (folder / PROOF_FILE).stat().st_mtime_ns
        except OSError:  # it has not been proved
            return ""
        if self._drawn[0] != drawn_from:
            proof = load_proof(folder)
            self._drawn = drawn_from, proof_text(proof, self._names.pane) if proof else ""
        return self._drawn[1]

    def _prove(self) -> str:
        try:
            prove(self._workbench.lab, self._run(), self._workbench.model_state.step)
        except Problem as error:
            return notice(str(error), "error")
        except OSError as error:
            words = tr("The proof cannot be saved: {reason}. Fix that and prove it again.", reason=in_words(error))
            return notice(words, "error")
        return ""

    def _report(self) -> str:
        try:
            run = self._run()
            self._made[run.id] = _to_download(write_report(run), run, uploads_dir(self._workbench.runs_dir))
        except RunError as error:
            return notice(str(error), "error")
        except OSError as error:
            words = tr("The report cannot be written: {reason}. Fix that and make it again.", reason=in_words(error))
            return notice(words, "error")
        return notice(tr(READY, run=self._names.run(run.id)), "good")


def _to_download(report: Path, run: Run, folder: Path) -> Path:
    """A copy where the page may serve files; it is deleted there after some days."""
    # A new path each time, so that no browser shows an older report, and one that nobody can guess.
    place = folder / f"report-{secrets.token_hex()}" / f"{run.id}.html"
    place.parent.mkdir(parents=True)
    shutil.copyfile(report, place)
    return place
