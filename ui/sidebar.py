"""What is always in view: the machine and its memory, the loaded model, the run and its Stop button.

Layout and text only; knows nothing of torch.
"""

from html import escape

import gradio as gr

from core.memory.hardware import Machine, MemoryStats
from core.runs.snapshot import Snapshot
from core.workbench.model_slot import ModelState
from core.workbench.workbench import Workbench
from ui.shared.formatting import bar, big, duration, gib, run_label

STATUS_WORDS = {
    "preparing": "getting ready",
    "training": "training",
    "stopping": "stopping",
    "completed": "completed",
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted",
}


class Sidebar:
    """Made inside a layout; `live` tells what its parts show now."""

    def __init__(self, workbench: Workbench):
        self._workbench = workbench
        with gr.Column(scale=0, min_width=250, elem_id="side"):
            gr.HTML('<h1 id="brand">HearthTune</h1>', elem_id="brand-box", padding=False)
            self.machine = gr.HTML(
                machine_text(workbench.machine, workbench.memory()), elem_id="side-machine", padding=False
            )
            self.model = gr.HTML(padding=False, elem_id="side-model")
            self.run = gr.HTML(padding=False, elem_id="side-run")
            self.stop = gr.Button("Stop", variant="stop", size="sm", visible=False, elem_id="stop")
        # A name of its own, so that /stop stays free for clients.
        self.stop.click(self._workbench.stop, api_name="press_stop", api_visibility="private", show_progress="hidden")

    def live(self) -> dict:
        workbench, snapshot = self._workbench, self._workbench.snapshot
        stopping = snapshot is not None and snapshot.status == "stopping"
        return {
            self.machine: {"value": machine_text(workbench.machine, workbench.memory(), snapshot)},
            self.model: {"value": model_text(workbench.model_state, workbench)},
            self.run: {"value": run_text(snapshot)},
            self.stop: {
                "visible": workbench.is_training,
                "interactive": not stopping,
                "value": "Stopping…" if stopping else "Stop",
            },
        }


def machine_text(machine: Machine, memory: MemoryStats, run: Snapshot | None = None) -> str:
    """The machine and its memory; while a run is going on, also what that was expected to take."""
    rows = [("in use", f"{gib(memory.in_use_gib)} of {gib(memory.total_gib)}")]
    if machine.is_gpu:
        rows += [
            ("allocated", gib(memory.allocated_gib)),
            ("reserved", gib(memory.reserved_gib)),
            ("peak reserved", gib(memory.peak_reserved_gib)),
        ]
        extra = [
            (f"{memory.utilization:.0f}% busy" if memory.utilization is not None else ""),
            (f"{memory.temperature:.0f} °C" if memory.temperature is not None else ""),
            (f"{memory.power:.0f} W" if memory.power is not None else ""),
        ]
        rows.append(("card", " · ".join(filter(None, extra)) or "–"))
    else:
        rows += [
            ("this program", gib(memory.process_gib)),
            ("its peak", gib(memory.peak_process_gib)),
            ("available", gib(memory.available_gib)),
        ]
    if run is not None and run.estimated and not run.is_over:
        rows.append(("run, estimated", gib(run.estimated.comparable_gib)))
    return _block(machine.name, bar(memory.in_use_gib / memory.total_gib, "memory in use"), rows)


def model_text(state: ModelState, workbench: Workbench) -> str:
    if state.doing:
        progress = bar(state.share, "loading") if state.share is not None else ""
        return _block("Model", f'<p class="busy">{escape(state.doing)}…</p>{progress}')
    if state.report is None:
        if workbench.warm_error:
            return _block("Model", f'<p class="bad">{escape(workbench.warm_error)}</p>')
        return _block(
            "Model", "<p>none loaded</p>" if workbench.is_warm else '<p class="busy">Unsloth is warming up…</p>'
        )
    report = state.report
    bits = "4-bit" if report.linear_layers_4bit else "16-bit" if "16" in report.dtype else "32-bit"
    words = f"{bits} · {big(report.parameters)}{' · tied' if report.tied_embeddings else ''}"
    name = report.name.rstrip("/").rpartition("/")[2]
    adapter = f"<p>adapter: {escape(run_label(state.adapter))}</p>" if state.adapter else ""
    return _block("Model", f"<p><b>{escape(name)}</b></p><p>{escape(words)}</p>{adapter}")


def run_text(snapshot: Snapshot | None) -> str:
    if snapshot is None:
        return _block("Run", "<p>none yet</p>")
    words = "paused" if snapshot.is_paused else STATUS_WORDS[snapshot.status]
    parts = [f'<p><b>{escape(snapshot.name)}</b> <span class="status {snapshot.status}">{words}</span></p>']
    last = snapshot.steps[-1] if snapshot.steps else None
    if last and not snapshot.is_over:
        parts.append(bar(last.step / last.max_steps, "steps"))
    if last:
        line = f"step {last.step:,} of {last.max_steps:,} · loss {last.loss:.3f}"
        left = snapshot.seconds_left
        parts.append(f'<p class="figures">{line}{f" · {duration(left)} left" if left is not None else ""}</p>')
    elif not snapshot.is_over:
        parts.append(f'<p class="busy">{escape(snapshot.message)}…</p>')
    return _block("Run", "".join(parts))


def _block(title: str, body: str, rows: list[tuple[str, str]] = ()) -> str:
    table = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in rows)
    return f'<section class="part"><h2>{escape(title)}</h2>{body}{f"<dl>{table}</dl>" if rows else ""}</section>'
