"""What a recipe has done so far, as a file that outlives the program.

runs/recipes/<id>/record.json   the recipe with its settings, how far it is, and what it has found
runs/recipes/<id>/report.html   one report over all stages, once one was made
"""

import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.disk.atomic import write_whole
from core.disk.tolerant_reading import Unreadable, in_words, read_text
from core.problems import RunError, mark, tr
from core.runs.owner import is_alive, this_process
from core.settings.recipes import Recipe

FOLDER, FILE = "recipes", "record.json"  # beside the runs
INTERRUPTED = mark("The program ended before the recipe did.")
Kind = Literal["data", "base", "train", "ask", "measure", "export"]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class Step(_Kept):
    """A piece of a recipe's work: what it is, on which of the recipe's models, for which stage, which export."""

    kind: Kind
    stage: str
    model: str = ""
    export: int = 0


class DataFacts(_Kept):
    """The rows of a stage: `tokens` are counted after cutting `cut_rows` at the maximum length, the `longest` before.
    `edges` and `counts` are a histogram of the lengths; `example` is the first text as the model sees it."""

    stage: str
    rows: int
    train_rows: int
    validation_rows: int
    left_out: int
    tokens: int
    trained_tokens: int
    cut_rows: int
    longest: int
    edges: tuple[int, ...]
    counts: tuple[int, ...]
    warnings: tuple[str, ...] = ()
    example: str = ""


class Example(_Kept):
    """A validation row: what the model reads, what a person answered, and what the base answers."""

    model: str
    question: str
    reference: str
    answer: str


class Answers(_Kept):
    """The answers to the recipe's questions, in order: of the base, or after a stage."""

    model: str
    by: str  # the name of a stage, or BASE
    answers: tuple[str, ...]


class Trained(_Kept):
    """The run of a stage."""

    model: str
    stage: str
    run_id: str


class Made(_Kept):
    """An export of the last stage: the folder it is in, and its address if it was pushed."""

    model: str
    to: str
    out: str = ""
    url: str = ""


class Record(_Kept):
    """The first `done` of the recipe's steps are done; `doing` is the next one in words. `message` says how it ended.

    `device` and `total_gib` are the machine's, `made` is in seconds since 1970. `pid` names the process that works on
    it, as in run.json.
    """

    id: str
    made: float = Field(ge=0, le=1e11)
    recipe: Recipe
    status: Literal["running", "completed", "stopped", "failed", "interrupted"] = "running"
    message: str = ""
    doing: str = ""
    done: int = 0
    device: str = ""
    total_gib: float = 0.0
    facts: tuple[DataFacts, ...] = ()
    examples: tuple[Example, ...] = ()
    answers: tuple[Answers, ...] = ()
    runs: tuple[Trained, ...] = ()
    exports: tuple[Made, ...] = ()
    pid: int = 0
    pid_started: float = 0.0
    pid_since_boot: float = 0.0

    @property
    def steps(self) -> tuple[Step, ...]:
        return steps_of(self.recipe)

    @property
    def step(self) -> Step | None:
        """The step that is next, or is being done; None when all are done."""
        return self.steps[self.done] if self.done < len(self.steps) else None

    @property
    def is_over(self) -> bool:
        return self.status != "running"

    def run_of(self, stage: str, model: str = "") -> str:
        """The id of the run of a stage; empty before it was started."""
        return next((run.run_id for run in self.runs if (run.model, run.stage) == (model, stage)), "")

    def answers_of(self, by: str, model: str = "") -> tuple[str, ...]:
        """The answers of the base, or after a stage; empty before they were given."""
        return next((found.answers for found in self.answers if (found.model, found.by) == (model, by)), ())


def steps_of(recipe: Recipe) -> tuple[Step, ...]:
    """All pieces of work, in order. The rows are looked at once, whatever the number of models; nothing is pushed
    without the name of a repository."""
    last, steps = recipe.last.name, []
    if recipe.before.data:
        first = next(iter(recipe.models), "")
        steps += [Step(kind="data", stage=stage.name, model=first) for stage in recipe.stages]
    for model in recipe.models or ("",):
        if recipe.questions or recipe.before.example:
            steps.append(Step(kind="base", stage=last, model=model))
        for stage in recipe.stages:
            steps.append(Step(kind="train", stage=stage.name, model=model))
            if recipe.questions:
                steps.append(Step(kind="ask", stage=stage.name, model=model))
        if recipe.measures.rows:
            steps.append(Step(kind="measure", stage=last, model=model))
        can_push = bool(recipe.last.config.training.hub_model_id)
        exports = [number for number, export in enumerate(recipe.exports) if can_push or not export.push]
        steps += [Step(kind="export", stage=last, model=model, export=number) for number in exports]
    return tuple(steps)


def step_in_words(recipe: Recipe, step: Step, with_model: bool = True) -> str:
    """What a step does, as in "1B · Train: Instructions in Korean", in the person's language."""
    stage, model = recipe.stage(step.stage).shown, step.model
    words = {
        "data": tr("Look at the rows: {stage}", stage=stage),
        "base": tr("Ask the base"),
        "train": tr("Train: {stage}", stage=stage),
        "ask": tr("Ask after {stage}", stage=stage),
        "measure": tr("Measure base and tuned"),
        "export": "",
    }[step.kind]
    if step.kind == "export":
        export = recipe.exports[step.export]
        words = tr("Push: {kind}", kind=export.to) if export.push else tr("Export: {kind}", kind=export.to)
    return f"{model} · {words}" if with_model and model and step.kind != "data" else words


def record_folder(runs_dir: Path, record_id: str) -> Path:
    return runs_dir / FOLDER / record_id


def new_record(runs_dir: Path, recipe: Recipe, device: str, total_gib: float) -> Record:
    """A record in a folder of its own. Raises RunError if that cannot be made."""
    slug = re.sub(r"[^a-z0-9]+", "-", recipe.name.lower()).strip("-")[:40] or "recipe"
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{slug}"
    try:
        (runs_dir / FOLDER).mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = record_folder(runs_dir, stamp if number == 1 else f"{stamp}-{number}")
            try:
                folder.mkdir()
                break
            except FileExistsError:
                continue
    except OSError as error:
        raise _not_saved(runs_dir, error) from None
    made = Record(id=folder.name, made=time.time(), recipe=recipe, device=device, total_gib=total_gib)
    return save(runs_dir, made)


def save(runs_dir: Path, record: Record) -> Record:
    """Writes the record as this process's, and returns it. Raises RunError if it cannot be written."""
    record = record.model_copy(update=this_process())
    try:
        write_whole(record_folder(runs_dir, record.id) / FILE, record.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise _not_saved(runs_dir, error) from None
    return record


def find_record(runs_dir: Path, record_id: str) -> Record:
    """The record with that id; it is `interrupted` if its program died. Raises RunError."""
    file = record_folder(runs_dir, record_id) / FILE
    if record_id != Path(record_id).name or not os.path.isfile(file):
        raise RunError("There is no recipe {recipe!r:.80} among those that were started.", recipe=record_id)
    try:
        record = Record.model_validate_json(read_text(file))
    except Unreadable as error:
        raise RunError("The recipe {recipe} cannot be read: {reason}.", recipe=record_id, reason=error) from None
    except ValidationError:
        raise RunError("The recipe {recipe} cannot be read: its record.json is damaged.", recipe=record_id) from None
    owner = record.model_dump(include={"pid", "pid_started", "pid_since_boot"})
    if record.status == "running" and not is_alive(owner):
        return record.model_copy(update={"status": "interrupted", "message": INTERRUPTED})
    return record


def record_ids(runs_dir: Path) -> list[str]:
    """The ids of all recipes that were started, the newest first."""
    return sorted((file.parent.name for file in (runs_dir / FOLDER).glob(f"*/{FILE}")), reverse=True)


def _not_saved(runs_dir: Path, error: OSError) -> RunError:
    return RunError(
        "The recipe cannot be saved in {folder}: {reason}.", folder=str(runs_dir / FOLDER), reason=in_words(error)
    )
