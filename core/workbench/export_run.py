"""Exports a run, and tests the export before it is handed over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from core.data.prompts.prompt_date import on_date
from core.disk.atomic import move_into_place
from core.evaluation.forgetting import general_rows
from core.evaluation.question_rows import Row
from core.evaluation.record import Source as RowSource
from core.export.export import ExportedFile, Wanted, errors_of_disk, files_of, write_export
from core.export.load_export import load_adapter, load_merged
from core.export.self_test import LIMITS, Check, Observed, compare, observe
from core.export.source import Source, find_source
from core.fresh_thread import in_own_thread
from core.hub_names import Token
from core.model.device_memory import free_memory
from core.model.download import Report
from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference
from core.problems import DataError
from core.runs.run_folder import Run
from core.stopping import ShouldStop
from core.workbench.desk import EXPORTING
from core.workbench.measure_run import rows_of
from core.workbench.model_access import ModelAccess

MAX_ROWS = 24
FAILED = "-failed"  # appended to the name of the folder of an export that did not pass its test


@dataclass(frozen=True)
class Exported:
    """An export in the folder `out`. `checks` is empty if it was not tested.

    An export that failed its test is in another folder than the one that was asked for.
    """

    wanted: Wanted
    out: Path
    files: tuple[ExportedFile, ...]
    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it was tested and passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Exporter:
    """Exports a run, or its checkpoint of `step`. `token` is for gated models and data."""

    lab: ModelAccess
    run: Run
    step: int | None = None
    token: Token = None
    report: Report = lambda text, share: None
    should_stop: ShouldStop = lambda: False

    def export(self, wanted: Wanted, is_tested: bool = True) -> Exported:
        """Writes the export, tests it, and moves it into place.

        Raises Busy, Stopped, and the Problems of `find_source` and `write_export`.
        """
        with_original = wanted.onto == "original"
        source = find_source(
            self.run.folder.parent, str(self.run.folder), self.step, with_original, self.token, self.report
        )
        if not is_tested:
            write_export(source, wanted, self.report, self.should_stop)
            return Exported(wanted, wanted.out, files_of(wanted.out))
        aside = wanted.out.with_name(f"{wanted.out.name}-untested")
        write_export(source, replace(wanted, out=aside), self.report, self.should_stop)
        check = in_own_thread(lambda: self._check(source, wanted, aside))
        out = wanted.out if check.passed else wanted.out.with_name(f"{wanted.out.name}{FAILED}")
        with errors_of_disk(out):
            move_into_place(aside, out)
        return Exported(wanted, out, files_of(out), (check,))

    def _check(self, source: Source, wanted: Wanted, folder: Path) -> Check:
        """The export in `folder` beside the model that it was made of."""
        name = "adapter_model.safetensors" if wanted.to == "adapter" else "model.safetensors"
        with TemporaryDirectory(prefix="hearthtune-") as logits:
            self.report("Asking the model that was trained", None)
            rows, model, computed_in = self._observe_model(source, wanted, Path(logits) / "model")
            self.report("Asking the export", None)
            loaded = load_adapter(folder, source) if wanted.to == "adapter" else load_merged(folder, source)
            export = observe(loaded, rows, Path(logits) / "export", self.should_stop)
            found = compare(name, model, export, LIMITS[computed_in if wanted.to == "adapter" else wanted.dtype])
            del model, export  # Windows does not delete files that are still mapped
        del loaded
        free_memory()
        return found

    def _observe_model(self, source: Source, wanted: Wanted, file: Path) -> tuple[Sequence[Row], Observed, str]:
        """The rows to ask, what the model makes of them, and the precision it computes in.

        The model is the one that was tried, or for an export onto the original weights the adapter on these.
        """
        pane = self.lab.pane_of(self.run, self.step)
        if pane not in self.lab.choices():
            self.lab.load_run(pane.run_id, self.token, self.step)
        with self.lab.using([pane], EXPORTING) as (loaded, (name,)):
            rows, dtype = self._rows(loaded), loaded.report.dtype
            if wanted.onto == "original":
                original = load_adapter(source.adapter_dir, source, "original")
                return rows, observe(original, rows, file, self.should_stop), dtype
            with for_inference(loaded), adapter_view(loaded, name):
                return rows, observe(loaded, rows, file, self.should_stop), dtype

    def _rows(self, loaded: LoadedModel) -> Sequence[Row]:
        """Validation rows of the run; general questions if it has none."""
        dated = replace(loaded, tokenizer=on_date(loaded.tokenizer, self.run.prompt_date))
        config = self.run.config()
        try:
            return rows_of(RowSource(kind="validation"), config, dated, MAX_ROWS, token=self.token)[0]
        except DataError:
            return general_rows(dated, config.data.prompt_template)[:MAX_ROWS]
