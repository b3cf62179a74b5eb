"""The command that exports a run: progress goes to standard error, the result to standard output."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from core.export.export import Dtype, Kind, Wanted, default_folder
from core.export.gguf_tensors import PRECISIONS
from core.export.merged_weights import Base
from core.export.self_test import Check
from core.model.download import Report
from core.problems import ConfigError
from core.runs.run_folder import Run, find_run
from core.stopping import ShouldStop, Stopped
from core.training.script_export import write_script
from core.workbench.bring_in import bring_in
from core.workbench.export_run import FAILED, GGUF_KINDS, Exported, Exporter
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

    def export(self, run: Run, to: Kind, out: Path | None, report: Report, should_stop: ShouldStop) -> Exported:
        """Exports into `out`, or into the run's own folder; raises what the Exporter does, and ConfigError."""
        folder = (out or default_folder(run, to, self.checkpoint)).resolve()
        wanted = Wanted(to, folder, self.dtype, self.base, _precisions(self.quant))
        lab = Workbench(run.folder.parent).lab
        exporter = Exporter(lab, run, self.checkpoint, hub_token(), report, should_stop)
        return exporter.export(wanted, is_tested=not self.no_check)


def export_and_report(runs_dir: Path, run: str, to: Kind, out: Path | None, options: Options, as_json: bool) -> int:
    found = find_run(runs_dir, run)
    with stdout_for_results() as results:
        try:
            with reported_until_ctrl_c() as (report, should_stop):
                exported = options.export(found, to, out, report, should_stop)
        except Stopped:
            print("Stopped; nothing was exported.", file=sys.stderr)
            return CTRL_C
        if as_json:
            print(json.dumps(values_of(exported)), file=results)
        else:
            print(*lines_of(exported), sep="\n", file=results)
    return 1 if print_failed(exported) else 0


def print_failed(exported: Exported) -> bool:
    """Prints to standard error what did not pass its test; False if there is nothing such."""
    to, failed = exported.wanted.to, [check.file for check in exported.checks if not check.passed]
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


def bring_in_and_report(runs_dir: Path, name: str, base: str | None, as_json: bool) -> None:
    with stdout_for_results() as results, progress_bar() as show:
        run = bring_in(runs_dir.resolve(), name, base, hub_token(), lambda words, share: show(share or 0.0, words))
        made = {"run_id": run.id, "run_dir": str(run.folder)}
        print(json.dumps(made) if as_json else f"It is now the run {run.id}.", file=results)


def _precisions(quant: str) -> tuple[str, ...]:
    """The parts of a list with commas, each once. Raises ConfigError for one that there is not."""
    named = tuple(dict.fromkeys(part.strip().lower() for part in quant.split(",")))
    for name in named:
        if name not in PRECISIONS:
            raise ConfigError(
                "There is no {name!r} for --quant; choose from {known}.", name=name, known=", ".join(PRECISIONS)
            )
    return named


def values_of(exported: Exported) -> dict:
    """The result for other programs; `check` is null if the export was not tested."""
    files = [{"path": str(file.path), "bytes": file.bytes, "sha256": file.sha256} for file in exported.files]
    rows = [
        {
            "file": check.file,
            "max_logit_difference": check.max_logit_difference,
            "mean_kl": check.mean_kl,
            "top1": check.top1,
            "greedy_equal": check.greedy_equal,
            "greedy_of": check.greedy_of,
            "loss": check.loss,
        }
        for check in exported.checks
    ]
    return {
        "to": exported.wanted.to,
        "out": str(exported.out),
        "files": files,
        "base": exported.wanted.onto,
        "check": {"rows": rows, "passed": exported.passed} if rows else None,
    }


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
        f"Tested: {'passed' if check.passed else 'FAILED'}. {check.file} beside the model that was trained:",
        f"  logits differ by at most {check.max_logit_difference:.2g}, mean KL divergence {check.mean_kl:.2g}",
        f"  same next token {check.top1:.2%}, same answers {check.greedy_equal} of {check.greedy_of}{loss}",
    ]
