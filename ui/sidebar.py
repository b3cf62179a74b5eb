"""What is always in view: the machine and its memory, the loaded model, the run and its Stop button."""

import gradio as gr
from markupsafe import Markup

from core.memory.hardware import Machine, MemoryStats
from core.problems import RunError, mark, tr, trn
from core.runs.queue_file import EMPTY, Queue
from core.runs.snapshot import Snapshot
from core.workbench.model_slot import ModelState
from core.workbench.workbench import Workbench
from ui.shared.formatting import big, duration, gib
from ui.shared.html import render_part
from ui.shared.run_names import RunNames
from ui.train.queue_view import ended_words
from ui.train.run_state_text import activity, work_bar

TEMPLATE = "sidebar.html"
EXPECTED = {
    "estimate": mark("run, estimated"),
    "probe": mark("run, probed"),
    "corrected by a probe": mark("run, corrected by a probe"),
}
WORDS = {
    "preparing": mark("preparing"),
    "training": mark("training"),
    "stopping": mark("stopping"),
    "completed": mark("completed"),
    "stopped": mark("stopped"),
    "failed": mark("failed"),
    "interrupted": mark("interrupted"),
}


class Sidebar:
    """Made inside a layout; `live` says what its parts show now."""

    def __init__(self, workbench: Workbench):
        self._workbench = workbench
        with gr.Column(scale=0, min_width=250, elem_id="side"):
            gr.HTML('<h1 id="brand">HearthTune</h1>', elem_id="brand-box", padding=False)
            self.machine = gr.HTML(
                machine_text(workbench.machine, workbench.memory()), elem_id="side-machine", padding=False
            )
            self.model = gr.HTML(padding=False, elem_id="side-model")
            self.run = gr.HTML(padding=False, elem_id="side-run")
            self.stop = gr.Button(tr("Stop"), variant="stop", size="sm", visible=False, elem_id="stop")
        # A name of its own, so that /stop stays free for clients.
        self.stop.click(self._stop, api_name="press_stop", api_visibility="private", show_progress="hidden")

    def _stop(self) -> None:
        if self._workbench.stop() and not self._workbench.rules:  # visitors have no queue
            self._workbench.queue.hold()

    def live(self) -> dict:
        workbench, snapshot = self._workbench, self._workbench.snapshot
        stopping = snapshot is not None and snapshot.status == "stopping"
        return {
            self.machine: {
                "value": machine_text(workbench.machine, workbench.memory(), snapshot, workbench.unused_card)
            },
            self.model: {"value": model_text(workbench.model_state, workbench)},
            self.run: {"value": self._run_text(snapshot)},
            self.stop: {
                "visible": workbench.is_training,
                "interactive": not stopping,
                "value": tr("Stopping…") if stopping else tr("Stop"),
            },
        }

    def _run_text(self, snapshot: Snapshot | None) -> Markup:
        workbench = self._workbench
        if workbench.rules:  # visitors have no queue
            return run_text(snapshot)
        try:
            queue = workbench.queue.read()
        except RunError:  # the Train tab says why
            queue = EMPTY
        emptied = ended_words(queue, {row.id: row for row in workbench.runs.rows()}) if queue.ended else ""
        return run_text(snapshot, queue, emptied)


def machine_text(machine: Machine, memory: MemoryStats, run: Snapshot | None = None, unused_card: str = "") -> Markup:
    """The machine and its memory; while a run is in progress, also what it was expected to use.

    `unused_card` says why a card of this machine is not used.
    """
    in_use = tr("{part} of {whole}", part=gib(memory.in_use_gib), whole=gib(memory.total_gib))
    rows = [(tr("in use"), in_use)]
    if machine.is_gpu:
        rows += [
            (tr("allocated"), gib(memory.allocated_gib)),
            (tr("reserved"), gib(memory.reserved_gib)),
            (tr("peak reserved"), gib(memory.peak_reserved_gib)),
        ]
        extra = [
            (tr("{percent:.0f}% busy", percent=memory.utilization) if memory.utilization is not None else ""),
            (f"{memory.temperature:.0f} °C" if memory.temperature is not None else ""),
            (f"{memory.power:.0f} W" if memory.power is not None else ""),
        ]
        rows.append((tr("card"), " · ".join(filter(None, extra)) or "–"))
    else:
        rows += [
            (tr("this program"), gib(memory.process_gib)),
            (tr("its peak"), gib(memory.peak_process_gib)),
            (tr("available"), gib(memory.available_gib)),
        ]
    if run is not None and not run.is_over:
        rows += [(tr(EXPECTED[source]), gib(size)) for source, size in run.expected_gib.items()]
    share = memory.in_use_gib / memory.total_gib
    return render_part(TEMPLATE, "machine", name=machine.name, share=share, rows=rows, unused_card=unused_card)


def model_text(state: ModelState, workbench: Workbench) -> Markup:
    """What is being loaded, why nothing can be, or the loaded model and its adapter."""
    if state.doing:
        return render_part(TEMPLATE, "loading", doing=state.doing, share=state.share)
    if state.report is None:
        return render_part(TEMPLATE, "no_model", error=workbench.warm_error, is_warm=workbench.is_warm)
    report = state.report
    bits = tr("{number}-bit", number=4 if report.linear_layers_4bit else 16 if "16" in report.dtype else 32)
    weights = tr("{number} weights", number=big(report.parameters))
    return render_part(
        TEMPLATE,
        "model",
        name=report.name.rstrip("/").rpartition("/")[2],
        words=" · ".join([bits, weights, *([tr("tied")] if report.tied_embeddings else [])]),
        adapter=RunNames(workbench.runs).run(state.adapter) if state.adapter else "",
    )


def run_text(snapshot: Snapshot | None, queue: Queue = EMPTY, emptied: str = "") -> Markup:
    """The run's name and status, its last step, what it is doing while it takes no steps, and how many runs wait.
    `emptied` says how the runs of the queue ended, once none is left."""
    if snapshot is None:
        return render_part(TEMPLATE, "no_run")
    waiting = sum(not entry.run_id for entry in queue.entries)
    last = snapshot.steps[-1] if snapshot.steps else None
    figures, doing, share = "", activity(snapshot), None
    if last:
        step = tr("step {step:,} of {steps:,}", step=last.step, steps=last.max_steps)
        left = snapshot.seconds_left
        parts = [step, tr("loss {loss:.3f}", loss=last.loss)]
        figures = " · ".join([*parts, *([] if left is None else [tr("{time} left", time=duration(left))])])
        if not snapshot.is_over:
            share = last.step / last.max_steps
    return render_part(
        TEMPLATE,
        "run",
        run_id=snapshot.run_id,
        ended=f"{snapshot.name}: {snapshot.message}" if snapshot.is_over else "",
        name=snapshot.name,
        status=snapshot.status,
        words=_status_words(snapshot),
        share=share,
        figures=figures,
        doing="" if last and snapshot.is_paused else doing,
        work=work_bar(snapshot),
        emptied=emptied,
        waiting=trn("{count:,} run is in the queue", "{count:,} runs are in the queue", waiting) if waiting else "",
    )


def _status_words(snapshot: Snapshot) -> str:
    if snapshot.is_paused:
        return tr("paused")
    is_finishing = snapshot.status == "training" and snapshot.has_all_steps
    return tr("finishing") if is_finishing else tr(WORDS[snapshot.status])
