"""The steps of a recipe, each done with what the workbench already has: rows, runs, answers, measures, exports."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from typing import Any, Protocol

from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.data.prompts.prompt_date import on_date
from core.data.prompts.prompt_templates import prompt_text
from core.evaluation.batched_answers import answer_limit, given
from core.evaluation.question_rows import frame_of, plain
from core.evaluation.record import Source
from core.export.hub import Repository
from core.export.wanted import Wanted, wanted_of
from core.hub_names import Token
from core.memory.hardware import Machine
from core.model.loaded_model import LoadedModel, ModelReport
from core.model.views import adapter_view, for_inference
from core.problems import ModelError, Problem, RunError, TrainingError
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import Run, find_run
from core.runs.run_list import RunList
from core.runs.snapshot import Snapshot
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.threads import ShouldStop, Stopped, in_own_thread, leave_if
from core.workbench.desk import ANSWERING
from core.workbench.measure_job import MeasureJob
from core.workbench.model_access import ModelAccess
from core.workbench.recipe_record import Answers, DataFacts, Example, Made, Record, Step, Trained
from core.workbench.rows_of_the_form import Look, Preparing
from core.workbench.rows_to_measure import rows_of

SECONDS_BETWEEN_LOOKS = 0.2
OF_SURVEY = (
    "train_rows", "validation_rows", "tokens", "trained_tokens", "cut_rows", "longest", "edges", "counts", "warnings",
)  # fmt: skip
EXAMPLE_CHARACTERS = 1500  # of the first text


class Exports(Protocol):
    """What a recipe needs of `core.workbench.export_job`."""

    state: Any

    def export(self, run: Run, wanted: Wanted, *, token: Token = None) -> None: ...
    def push(self, run: Run, wanted: Wanted, to: Repository, *, token: Token = None) -> None: ...
    def stop(self) -> None: ...
    def wait(self, timeout: float | None = None) -> Any: ...


class Bench(Protocol):
    """What a recipe needs of the workbench (`core.workbench.workbench`)."""

    runs: RunList
    machine: Machine
    lab: ModelAccess
    measuring: MeasureJob
    exporting: Exports
    preparing: Preparing
    failure: Problem | None

    def load_model(self, config: ModelConfig, token: Token = None) -> ModelReport: ...
    def check_rows(self, config: RunConfig, token: Token = None) -> None: ...
    def look(self, config: RunConfig, token: Token = None, with_model: bool = True) -> Look: ...
    def start(
        self, config: RunConfig, name: str = "", token: Token = None, made: Run | None = None, preset: str = ""
    ) -> Run: ...
    def resume(self, run_id: str, token: Token = None) -> Run: ...
    def stop(self) -> bool: ...
    def stop_reading(self) -> None: ...
    def wait(self, timeout: float | None = None) -> Snapshot | None: ...


class Steps:
    """Does steps. `keep` changes the record and saves it; `say` gets what is being answered, while it grows."""

    def __init__(
        self,
        bench: Bench,
        keep: Callable[..., Record],
        say: Callable[[str], None],
        should_stop: ShouldStop,
        token: Token,
    ):
        self._bench, self._keep, self._say, self._should_stop, self._token = bench, keep, say, should_stop, token

    def do(self, record: Record, step: Step) -> None:
        """Does a step and keeps what it found. Raises Problems, and Stopped."""
        work = {
            "data": self._data, "base": self._base, "train": self._train, "ask": self._ask, "measure": self._measure,
            "export": self._export,
        }[step.kind]  # fmt: skip
        work(record, step)

    # Looks

    def _data(self, record: Record, step: Step) -> None:
        config = _config(record, step)
        self._bench.check_rows(config, self._token)
        found, state = self._bench.preparing.survey, self._bench.preparing
        left_out = [part.total for part in (state.left_out, state.validation_left_out) if part]
        data = self._bench.look(config, self._token).data
        facts = DataFacts(
            stage=step.stage,
            rows=state.rows,
            left_out=sum(left_out),
            example=data.preview[0][:EXAMPLE_CHARACTERS] if data and data.preview else "",
            **{name: getattr(found, name) for name in OF_SURVEY},
        )
        self._keep(facts=(*record.facts, facts))

    def _base(self, record: Record, step: Step) -> None:
        """An example and the questions, by the base alone: no adapter was ever on it."""
        recipe, config = record.recipe, _config(record, step)
        self._bench.load_model(recipe.config_of(recipe.stages[0], step.model).model, self._token)
        with self._bench.lab.using([BASE], ANSWERING) as (loaded, _):
            if recipe.before.example:
                found = in_own_thread(lambda: self._example(loaded, config, step.model))
                others = [one for one in record.examples if one.model != step.model]
                record = self._keep(examples=(*others, found))
            self._keep_answers(record, step, "base", self._answers(loaded, None, record, config, date.today()))

    def _example(self, loaded: LoadedModel, config: RunConfig, model: str) -> Example:
        folder = self._bench.runs.runs_dir / "prepared"
        rows, _ = rows_of(Source(), config, loaded, 1, folder, self._token, self._should_stop)
        with for_inference(loaded), adapter_view(loaded, None):
            (answer,) = given(loaded, rows, answer_limit(rows), self._should_stop)
        leave_if(self._should_stop)
        before, after = frame_of(config.data.prompt_template, loaded.tokenizer)
        question = plain(loaded.tokenizer, rows[0].question).removeprefix(before).removesuffix(after).strip()
        return Example(model=model, question=question, reference=rows[0].reference or "", answer=answer.text or "")

    # Asking

    def _ask(self, record: Record, step: Step) -> None:
        run = self._run(record, step)
        pane = self._loaded(run)
        with self._bench.lab.using([pane], ANSWERING) as (loaded, (name,)):
            last = record.recipe.config_of(record.recipe.last, step.model)
            answers = self._answers(loaded, name, record, last, run.prompt_date)
            self._keep_answers(record, step, step.stage, answers)

    def _keep_answers(self, record: Record, step: Step, by: str, answers: Sequence[str]) -> None:
        if answers:
            others = [one for one in record.answers if (one.model, one.by) != (step.model, by)]
            self._keep(answers=(*others, Answers(model=step.model, by=by, answers=tuple(answers))))

    def _answers(
        self, loaded: LoadedModel, adapter: str | None, record: Record, config: RunConfig, day: date
    ) -> list[str]:
        """One after the other, in the prompts of these settings, and said while they grow."""
        recipe, found = record.recipe, []
        tokenizer = on_date(loaded.tokenizer, day)
        for question in recipe.questions:
            messages = [{"role": "user", "content": question}]
            prompt = prompt_text(messages, config.data.prompt_template, tokenizer)
            tokens = len(loaded.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
            room = loaded.report.max_seq_length - tokens
            if room < 1:
                raise ModelError(
                    "The question {question!r:.60} has {tokens:,} tokens, but the model's maximum length is "
                    "{length:,}; shorten it in the recipe.",
                    question=question, tokens=tokens, length=loaded.report.max_seq_length,
                )  # fmt: skip
            sampling = Sampling(max_new_tokens=min(recipe.answer_tokens, room))
            text = ""
            for (answer,) in stream(loaded, [prompt], [adapter], sampling, self._should_stop):
                text = answer.text
                self._say(f"{question}\n{text}")
            leave_if(self._should_stop)
            found.append(text.strip())
        return found

    def _loaded(self, run: Run) -> Pane:
        """The run's adapter, loaded if it is not."""
        pane = self._bench.lab.pane_of(run)
        if pane not in self._bench.lab.choices():
            self._bench.lab.load_run(pane.run_id, self._token)
        return pane

    # Training

    def _train(self, record: Record, step: Step) -> None:
        snapshot = self._begin(record, step)
        while not snapshot.is_over:
            if self._should_stop():
                self._bench.stop()
            snapshot = self._bench.wait(SECONDS_BETWEEN_LOOKS)
        if snapshot.status == "stopped":
            raise Stopped
        if snapshot.status != "completed":
            raise self._bench.failure or TrainingError("{reason}", reason=snapshot.message)

    def _begin(self, record: Record, step: Step) -> Snapshot:
        """Starts the run of a stage, or continues it; the snapshot of one that is complete as it is."""
        recipe, stage = record.recipe, record.recipe.stage(step.stage)
        if run_id := record.run_of(step.stage, step.model):
            with suppress(RunError):  # deleted since: it is trained anew
                snapshot = find_run(self._bench.runs.runs_dir, run_id).snapshot()
                if snapshot.status == "completed":
                    return snapshot
                self._bench.resume(run_id, self._token)
                return self._bench.wait(0)
        config = recipe.config_of(stage, step.model)
        if earlier := record.run_of(config.adapter.continue_from or "", step.model):
            adapter = config.adapter.model_copy(update={"continue_from": earlier})
            config = config.model_copy(update={"adapter": adapter})
        name = " · ".join(filter(None, (recipe.title, step.model, stage.shown if len(recipe.stages) > 1 else "")))
        run = self._bench.start(config, name, self._token)
        others = [one for one in record.runs if (one.model, one.stage) != (step.model, step.stage)]
        self._keep(runs=(*others, Trained(model=step.model, stage=step.stage, run_id=run.id)))
        return self._bench.wait(0)

    def _run(self, record: Record, step: Step) -> Run:
        """Raises RunError if the run was deleted."""
        return find_run(self._bench.runs.runs_dir, record.run_of(step.stage, step.model))

    # Measures and exports

    def _measure(self, record: Record, step: Step) -> None:
        job = self._bench.measuring
        job.start(self._run(record, step), Source(), record.recipe.measures.rows, self._token)
        self._ended(job)

    def _export(self, record: Record, step: Step) -> None:
        wish, run, job = record.recipe.exports[step.export], self._run(record, step), self._bench.exporting
        wanted = wanted_of(run, wish.to, wish.quant)
        if wish.push:
            name = _config(record, step).training.hub_model_id
            job.push(run, wanted, Repository(name), token=self._token)
            url, out = self._ended(job).url, ""
        else:
            job.export(run, wanted, token=self._token)
            exported = self._ended(job)
            if exported.failed:
                raise TrainingError(
                    "{files} did not pass the self-test, so it is not for use; the figures are in the run's report.",
                    files=", ".join(check.file for check in exported.failed),
                )
            url, out = "", exported.out.relative_to(run.folder.resolve()).as_posix()
        self._keep(exports=(*record.exports, Made(model=step.model, to=wish.to, out=out, url=url)))

    def _ended(self, job: MeasureJob | Exports) -> Any:
        """What a background job found. Raises Stopped, and TrainingError with what it said if it found nothing."""
        while job.wait(SECONDS_BETWEEN_LOOKS).is_doing:
            if self._should_stop():
                job.stop()
        if job.state.was_stopped:
            raise Stopped
        if job.state.found is None:
            raise TrainingError("{reason}", reason=job.state.said)
        return job.state.found


def _config(record: Record, step: Step) -> RunConfig:
    return record.recipe.config_of(record.recipe.stage(step.stage), step.model)
