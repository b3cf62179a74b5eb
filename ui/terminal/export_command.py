"""The command that exports a run: progress goes to standard error, the result to standard output."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from core.export.checks import Check
from core.export.record import FAILED, GGUF_KINDS, Exported, as_values
from core.export.wanted import Base, Dtype, Kind, Wanted, wanted_of
from core.model.download import Report
from core.runs.run_folder import Run, find_run
from core.threads import ShouldStop, Stopped
from core.training.script_export import write_script
from core.workbench.bring_in import bring_in
from core.workbench.export_run import Exporter
from core.workbench.workbench import Workbench
from ui.shared.formatting import disk
from ui.terminal.commands import CTRL_C, hub_token
from ui.terminal.progress import progress_bar, reported_until_ctrl_c, stdout_for_results

HOW_TO_RUN = (
    "uv run train.py                                  on this machine",
    "torchrun --nproc_per_node 2 train.py             on several graphics cards",
)
DID_NOT_PASS = (
    "{file} does not answer as the model did, so it is not for use; it was kept with {failed} at the end of its name."
)


@dataclass(frozen=True)
class Options:
    """How a run is exported: `export_options` as they were typed."""

    dtype: Dtype
    base: Base
    checkpoint: int | None
    quant: str
    no_check: bool

    def wanted(self, run: Run, to: Kind, out: Path | None = None) -> Wanted:
        """What to write, into `out` or the run's own folder. Raises ConfigError."""
        return wanted_of(run, to, self.quant.split(","), self.dtype, self.base, self.checkpoint, out)

    def exporter(self, run: Run, report: Report, should_stop: ShouldStop) -> Exporter:
        lab = Workbench(run.folder.parent).lab
        return Exporter(lab, run, self.checkpoint, hub_token(), report, should_stop)


def export_and_report(runs_dir: Path, run: str, to: Kind, out: Path | None, options: Options, as_json: bool) -> int:
    found = find_run(runs_dir, run)
    with stdout_for_results() as results:
        try:
            with reported_until_ctrl_c() as (report, should_stop):
                wanted = options.wanted(found, to, out)
                exported = options.exporter(found, report, should_stop).export(wanted, not options.no_check)
        except Stopped:
            print("Stopped; nothing was exported.", file=sys.stderr)
            return CTRL_C
        if as_json:
            print(json.dumps(as_values(exported)), file=results)
        else:
            print(*lines_of(exported), sep="\n", file=results)
    return 1 if print_failed(exported) else 0


def print_failed(exported: Exported) -> bool:
    """Prints to standard error what did not pass its test; False if there is nothing such."""
    to, failed = exported.wanted.to, [check.file for check in exported.failed]
    for file in failed:
        what = file if to in GGUF_KINDS else "The merged model" if to == "merged" else "The adapter"
        print(DID_NOT_PASS.format(file=what, failed=FAILED), file=sys.stderr)
    return bool(failed)


def write_script_and_report(runs_dir: Path, run: str, out: Path | None, as_json: bool) -> None:
    found = find_run(runs_dir, run)
    with stdout_for_results() as results:
        folder = (out or found.folder / "exports" / "script").resolve()
        script, rows = write_script(found, folder, hub_token())
        if as_json:
            print(json.dumps({"out": str(folder), "script": str(script), "rows": str(rows)}), file=results)
        else:
            print(f"Written to {folder}", *(f"  {line}" for line in HOW_TO_RUN), sep="\n", file=results)


def bring_in_and_report(runs_dir: Path, name: str, base: str | None, revision: str | None, as_json: bool) -> None:
    with stdout_for_results() as results, progress_bar() as show:
        run = bring_in(
            runs_dir.resolve(), name, base, hub_token(), lambda words, share: show(share or 0.0, words), revision
        )
        made = {"run_id": run.id, "run_dir": str(run.folder)}
        print(json.dumps(made) if as_json else f"It is now the run {run.id}.", file=results)


def lines_of(exported: Exported) -> list[str]:
    """The result for people: the folder, each file with its size, and how the export differs from the model."""
    width = max(len(file.path.name) for file in exported.files)
    return [
        f"Written to {exported.out}",
        *(f"  {file.path.name:<{width}}  {disk(file.bytes):>8}" for file in exported.files),
        *(line for check in exported.checks for line in _lines_of(check)),
        *_next_steps(exported),
    ]


def _next_steps(exported: Exported) -> list[str]:
    """The commands that create a model in Ollama, one for each Modelfile."""
    made = [file.path for file in exported.files if file.path.name.startswith("Modelfile")]
    return [f"For Ollama: ollama create my-model -f {file}" for file in made]


def _lines_of(check: Check) -> list[str]:
    loss = "" if check.loss is None else f", loss {check.loss:.4f} ({check.loss_of_model:.4f} before)"
    return [
        f"Tested: {'passed' if check.passed else 'FAILED'}. {check.file} compared with the trained model:",
        f"  logits differ by at most {check.max_logit_difference:.2g}, mean KL divergence {check.mean_kl:.2g}",
        f"  same next token {check.top1:.2%}, same answers {check.greedy_equal} of {check.greedy_of}{loss}",
    ]
