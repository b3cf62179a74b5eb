"""Exports a run, tests the export before it is handed over, and pushes it to Hugging Face."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from core.data.prompts.prompt_date import on_date
from core.disk.atomic import move_into_place
from core.evaluation.forgetting import general_rows
from core.evaluation.question_rows import Row
from core.evaluation.record import Source as RowSource
from core.export.card import add_checks
from core.export.checks import Check, limits_for
from core.export.export import check_room, write_export
from core.export.export_files import check_replaceable, errors_of_disk, files_of
from core.export.find_source import find_source
from core.export.gguf_check import check_tokens, observe_gguf
from core.export.gguf_file import write_gguf
from core.export.hub import Pushed, Repository, push_folder, token_for_pushing
from core.export.llama_cpp import check_installed, install, is_installed, running
from core.export.load_export import load_adapter, load_merged
from core.export.merged_weights import merged
from core.export.record import FAILED, GGUF_KINDS, Exported, load_exports, save
from core.export.self_test import MAX_VALUES, Observed, compare, observe
from core.export.source import Source
from core.export.wanted import Wanted
from core.hub_names import Token
from core.model.adapter_kind import WEIGHTS
from core.model.device_memory import free_memory
from core.model.download import Report
from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference
from core.problems import DataError, tr
from core.runs.run_folder import Run
from core.threads import ShouldStop, in_own_thread
from core.workbench.desk import EXPORTING
from core.workbench.model_access import ModelAccess
from core.workbench.rows_to_measure import rows_of

MAX_ROWS = 24
MAX_GGUF_VALUES = 8 * 2**20  # log-probabilities; llama.cpp hands them over as text


@dataclass(frozen=True)
class Exporter:
    """Exports a run, or its checkpoint of `step`. `token` is for gated models and data.

    `may_install`: llama.cpp is installed for the test of a GGUF file if it is missing.
    """

    lab: ModelAccess
    run: Run
    step: int | None = None
    token: Token = None
    report: Report = lambda text, share: None
    should_stop: ShouldStop = lambda: False
    may_install: bool = False

    def export(self, wanted: Wanted, is_tested: bool = True) -> Exported:
        """Writes the export, tests it, and moves it into place.

        Raises ConfigError if that would replace a person's files, Busy, Stopped, and the Problems of `find_source` and
        `write_export`.
        """
        aside, kept = (wanted.out.with_name(f"{wanted.out.name}{end}") for end in ("-untested", FAILED))
        check_replaceable(self.run, wanted.out, aside, kept)
        with_original = wanted.onto == "original"
        source = find_source(
            self.run.folder.parent, str(self.run.folder), self.step, with_original, self.token, self.report
        )
        check_room(source, wanted)
        if not is_tested:
            write_export(source, wanted, self.report, self.should_stop)
            return self._noted(wanted, wanted.out, ())
        if wanted.to in GGUF_KINDS:
            self._get_llama_cpp()
        checks = in_own_thread(lambda: self._written_and_tested(source, wanted, aside))
        out, failed = wanted.out, [check.file for check in checks if not check.passed]
        with errors_of_disk(out):
            if wanted.to in GGUF_KINDS:  # each file is used by itself
                for name in failed:
                    (aside / name).rename(aside / f"{name}{FAILED}")
            elif failed:
                out = kept
            add_checks(aside, checks)
            move_into_place(aside, out)
        return self._noted(wanted, out, checks)

    def push(self, wanted: Wanted, to: Repository, is_tested: bool = True) -> tuple[Exported, Pushed | None]:
        """The export, and where on Hugging Face it is; None if it failed its test, because that is not pushed.

        An export just like this that was made before, and passed, is not made again. Raises what `export` and
        `push_folder` do; ConfigError about the name and ExportError without a token before anything is exported.
        """
        to.check()
        token = token_for_pushing(self.token)
        self.report(tr("Looking at the exports of the run"), None)
        exported = self._made_before(wanted) or self.export(wanted, is_tested)
        if exported.failed:
            return exported, None
        message = f"Push {self.run.name}{'' if self.step is None else f' at step {self.step:,}'} as {wanted.to}"
        return exported, push_folder(exported.out, to, message, token, self.report, self.should_stop)

    def _made_before(self, wanted: Wanted) -> Exported | None:
        """An export just like this that passed its test, of the adapter as it is, with every byte that it had."""
        folder = self.run.adapter_dir if self.step is None else self.run.checkpoint(self.step).folder
        for one in load_exports(self.run):
            is_alike = (one.wanted, one.step) == (wanted, self.step) and one.passed
            if is_alike and one.made > (folder / WEIGHTS).stat().st_mtime and all(f.is_unchanged for f in one.files):
                return one
        return None

    def _get_llama_cpp(self) -> None:
        """Raises ExportError if llama.cpp is missing and may not, or cannot, be installed."""
        if self.may_install and not is_installed():
            self.report(tr("Installing llama.cpp for the test"), None)
            install()
        check_installed()

    def _noted(self, wanted: Wanted, out: Path, checks: tuple[Check, ...]) -> Exported:
        exported = Exported(wanted, out, files_of(out), checks, self.step, time.time())
        save(exported, self.run)
        return exported

    def _written_and_tested(self, source: Source, wanted: Wanted, aside: Path) -> tuple[Check, ...]:
        """Writes the export to `aside`, and each file with weights there beside the model that it is made of.

        The model is kept all the while, so that nothing else can begin that would make the test wait.
        """
        with TemporaryDirectory(prefix="hearthtune-") as logits:
            with self._observed_model(source, wanted, Path(logits) / "model") as tried:
                write_export(source, replace(wanted, out=aside), self.report, self.should_stop)
                try:
                    self.report(tr("Testing the export"), None)
                    checks = self._checks(tried, source, wanted, aside, Path(logits) / "export")
                    checks = tuple(replace(check, loss_as_tried=tried.loss_as_tried) for check in checks)
                except BaseException:
                    shutil.rmtree(aside, ignore_errors=True)
                    raise
            del tried  # Windows does not delete files that are still mapped
        free_memory()
        return checks

    def _checks(self, tried: "_Tried", source: Source, wanted: Wanted, folder: Path, logits: Path) -> tuple[Check, ...]:
        if wanted.to in GGUF_KINDS:
            return tuple(self._gguf_checks(tried, source, wanted, folder, logits))
        computed_in = tried.loaded.report.dtype
        if wanted.to == "adapter":
            name, precision, loaded = WEIGHTS, computed_in, load_adapter(folder, source, computed_in)
        else:
            name, precision, loaded = "model.safetensors", wanted.dtype, load_merged(folder, source)
        export = observe(loaded, tried.rows, logits, self.should_stop)
        limits = limits_for(precision, computed_in, loaded.report.dtype)
        return (compare(name, tried.observed, export, limits),)

    def _gguf_checks(
        self, tried: "_Tried", source: Source, wanted: Wanted, folder: Path, logits: Path
    ) -> Iterator[Check]:
        """A LoRA is tested on a GGUF file of its base in f16, made for that.

        Raises ExportError if llama.cpp cuts texts into other tokens than the model's tokenizer.
        """
        tokenizer, length = tried.loaded.tokenizer, tried.loaded.report.max_seq_length
        if wanted.to == "lora-gguf":
            (lora,) = folder.glob("*.gguf")
            with merged(source, wanted.onto, with_adapter=False) as base:
                (file,) = write_gguf(logits.parent, source, base, ["f16"])
            runs = [(lora.name, file, lora, "f16")]
        else:
            runs = [(file.name, file, None, quant) for quant in wanted.quant for file in folder.glob(f"*-{quant}.gguf")]
        for place, (name, file, lora, quant) in enumerate(runs):
            with running(file, length, lora) as llama:
                if place == 0:  # all have the same vocabulary
                    texts = [tokenizer.decode(row.input_ids) for row in tried.rows]
                    check_tokens(llama, name, tokenizer, texts)
                made = observe_gguf(llama, tried.loaded, tried.rows, logits, tried.most, self.should_stop)
            yield compare(name, tried.observed, made, limits_for(quant, tried.loaded.report.dtype))

    @contextmanager
    def _observed_model(self, source: Source, wanted: Wanted, file: Path) -> Iterator["_Tried"]:
        """What the model makes of the rows: the one that was tried, or for an export onto the original weights the
        adapter on these. The model stays in use within the block."""
        pane = self.lab.pane_of(self.run, self.step)
        if pane not in self.lab.choices():
            self.report(tr("Loading the model that was trained"), None)
            self.lab.load_run(pane.run_id, self.token, self.step)
        with self.lab.using([pane], EXPORTING) as (loaded, (name,)):
            self.report(tr("Asking the model that was trained"), None)
            rows = self._rows(loaded)
            most = (MAX_GGUF_VALUES if wanted.to in GGUF_KINDS else MAX_VALUES) // loaded.model.config.vocab_size
            with for_inference(loaded), adapter_view(loaded, name):
                found = observe(loaded, rows, file, self.should_stop, most)
            loss_as_tried = None
            if wanted.onto == "original":
                loss_as_tried = found.loss
                original = load_adapter(source.adapter_dir, source, loaded.report.dtype, "original")
                found = observe(original, rows, file, self.should_stop, most)
                del original
            yield _Tried(loaded, rows, found, most, loss_as_tried)

    def _rows(self, loaded: LoadedModel) -> Sequence[Row]:
        """Validation rows of the run; general questions if it has none."""
        dated = replace(loaded, tokenizer=on_date(loaded.tokenizer, self.run.prompt_date))
        config = self.run.config()
        try:
            return rows_of(RowSource(kind="validation"), config, dated, MAX_ROWS, token=self.token)[0]
        except DataError:
            return general_rows(dated, config.data.prompt_template)[:MAX_ROWS]


@dataclass(frozen=True)
class _Tried:
    """The model that was trained, the rows it was asked, what it made of them, and of how many positions at most.

    `loss_as_tried` as in Check.
    """

    loaded: LoadedModel
    rows: Sequence[Row]
    observed: Observed
    most: int
    loss_as_tried: float | None
