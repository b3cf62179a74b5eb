"""One recipe at a time in the background: its steps one after the other, each kept as soon as it is done.

    job = RecipeJob(workbench)
    job.start(find_recipe("yoda", small=True))
    record = job.wait()

What fails ends the recipe with one sentence; what was done before stays, and the recipe can be continued from there.
"""

from core.export.llama_cpp import check_installed
from core.export.record import GGUF_KINDS
from core.hub_names import Token
from core.model.unsloth_start import start_unsloth
from core.problems import Busy, Problem, RunError, TrainingError, tr
from core.settings.recipes import Recipe
from core.settings.run_config import RunConfig
from core.threads import leave_if
from core.training.trackers import check_tracker
from core.workbench.background_job import BackgroundJob, Outcome
from core.workbench.push_checkpoints import check_pushing
from core.workbench.recipe_record import Record, find_record, new_record, record_ids, save, step_in_words
from core.workbench.recipe_steps import Bench, Steps


class RecipeJob:
    """`state` is replaced, never changed; None when no recipe was ever started. `said` is what is being answered.

    `has_worked`: `state` is of a recipe that this program has worked on, rather than of one from before.
    """

    def __init__(self, bench: Bench):
        self._bench, self._runs_dir = bench, bench.runs.runs_dir
        self.said, self._works, self.has_worked = "", False, False
        self.failure: Problem | None = None  # what ended the last one, if it failed
        self._job: BackgroundJob[Record | None] = BackgroundJob("recipe", self._last(), _failed)

    @property
    def state(self) -> Record | None:
        return self._job.state

    @property
    def is_running(self) -> bool:
        """Whether this program works on a recipe."""
        return self._works

    def _last(self) -> Record | None:
        for record_id in record_ids(self._runs_dir):
            try:
                return find_record(self._runs_dir, record_id)
            except RunError:
                continue
        return None

    def start(self, recipe: Recipe, token: Token = None) -> Record:
        """Begins a recipe. Raises Busy while another one runs, and what can be known before anything is loaded: that a
        tracker, a token or llama.cpp is missing."""
        self._check(recipe, token)
        machine = self._bench.machine
        return self._begin(new_record(self._runs_dir, recipe, machine.name, machine.total_gib), token)

    def resume(self, record_id: str, token: Token = None) -> Record:
        """Continues a recipe with the step at which it ended. Raises Busy, RunError, and what `start` raises."""
        record = find_record(self._runs_dir, record_id)
        if record.status == "completed":
            raise RunError("The recipe {recipe} is done; start it again from its name.", recipe=record_id)
        if record.status == "running" and not self.is_running:
            raise RunError("The recipe {recipe} is in progress in another program.", recipe=record_id)
        self._check(record.recipe, token)
        return self._begin(record.model_copy(update={"status": "running", "message": ""}), token)

    def change(self, stage: str, config: RunConfig) -> None:
        """Gives a stage other settings while the recipe runs. Raises RunError if its run has started, or none runs."""
        with self._job.changed:
            record = self.state
            if not self.is_running or any(run.stage == stage for run in record.runs):
                raise RunError("The stage {stage} has started, so its settings stay as they are.", stage=stage)
            self._keep(recipe=record.recipe.with_stage(stage, config))

    def stop(self) -> None:
        """Asks it to stop; the run in progress is stopped and kept, and can be continued with the recipe."""
        self._job.stop()
        self._bench.stop_reading()

    def wait(self, timeout: float | None = None) -> Record | None:
        """Waits until it has ended, for `timeout` seconds at most. Returns the record."""
        return self._job.wait(timeout)

    def _check(self, recipe: Recipe, token: Token) -> None:
        if self.is_running:
            raise Busy("Another recipe is running: wait until it is done, or stop it.")
        for stage in recipe.stages:
            check_tracker(stage.config.training.report_to)
            check_pushing(stage.config, token)
        if any(export.to in GGUF_KINDS for export in recipe.exports):
            check_installed()

    def _begin(self, record: Record, token: Token) -> Record:
        with self._job.changed:
            self.said, self.failure = "", None
            self._job.state, self._works = save(self._runs_dir, record), True
            self.has_worked = True
            self._job.start(lambda: self._work(token), self._ended, token)
        return record

    def _work(self, token: Token) -> None:
        start_unsloth()  # before the tokenizer that the rows are looked at with, whose library it patches
        steps = Steps(self._bench, self._keep, self._say, self._job.should_stop, token)
        while (step := self.state.step) is not None:
            leave_if(self._job.should_stop)
            self._keep(doing=step_in_words(self.state.recipe, step))
            steps.do(self.state, step)
            self.said = ""
            self._keep(done=self.state.done + 1)

    def _say(self, words: str) -> None:
        self.said = words

    def _keep(self, **changes) -> Record:
        with self._job.changed:  # a stage may be changed meanwhile
            self._job.state = save(self._runs_dir, self.state.model_copy(update=changes))
            return self._job.state

    def _ended(self, outcome: Outcome[None]) -> None:
        outcome.print_unexpected()
        self.said, self.failure = "", outcome.problem
        if outcome.was_stopped:
            status, message = "stopped", tr("The recipe was stopped; what is done stays.")
        elif outcome.problem is not None:
            status, message = "failed", f"{self.state.doing}: {outcome.problem}"
        else:
            status, message = "completed", tr("The recipe is done.")
        changes = {"status": status, "message": message, "doing": ""}
        try:
            self._keep(**changes)
        except RunError as error:  # the disk is full: the page says so, and the record is as it was before
            self._job.state = self.state.model_copy(update=changes | {"message": f"{message} {error}"})
        self._works = False


def _failed(reason: str) -> Problem:
    return TrainingError("The recipe failed: {reason}.", reason=reason)
