"""What the command `recipe` does: progress and answers go to standard error, only the result to standard output."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from core.evaluation.saved import load_evaluations
from core.runs.run_folder import find_run
from core.settings.recipes import BASE, Recipe
from core.workbench.recipe_job import RecipeJob
from core.workbench.recipe_record import Record
from core.workbench.workbench import Workbench
from ui.report.recipe_report import write_recipe_report
from ui.report.stage_memory import memory_rows
from ui.terminal.commands import CTRL_C, hub_token
from ui.terminal.progress import ctrl_c_calls, progress_bar, stdout_for_results

SECONDS_BETWEEN_LOOKS = 0.2


def recipe_and_report(runs_dir: Path, recipe: Recipe, as_json: bool) -> int:
    return _to_the_end(runs_dir, lambda job: job.start(recipe, hub_token()), as_json)


def continue_and_report(runs_dir: Path, record_id: str, as_json: bool) -> int:
    return _to_the_end(runs_dir, lambda job: job.resume(record_id, hub_token()), as_json)


def _to_the_end(runs_dir: Path, begin: Callable[[RecipeJob], Record], as_json: bool) -> int:
    runs_dir = runs_dir.resolve()
    with stdout_for_results() as results:
        job = RecipeJob(Workbench(runs_dir))
        with ctrl_c_calls(job.stop), progress_bar() as show:
            record, told = begin(job), None
            while not record.is_over:
                if record.doing and record.doing != told:
                    told = record.doing
                    print(f"{record.done + 1} of {len(record.steps)}  {told}", file=sys.stderr)
                show(record.done / len(record.steps), job.said.rpartition("\n")[2] or record.doing)
                record = job.wait(SECONDS_BETWEEN_LOOKS)
        report = write_recipe_report(runs_dir, record)
        if as_json:
            print(json.dumps(_values(runs_dir, record, report), ensure_ascii=False), file=results)
        else:
            print(*_lines(runs_dir, record, report), sep="\n", file=results)
    if record.status == "failed":
        print(record.message, file=sys.stderr)
        return 2 if job.failure is not None and job.failure.is_bad_input else 1
    return CTRL_C if record.status == "stopped" else 0


def _values(runs_dir: Path, record: Record, report: Path) -> dict:
    """The result for other programs."""
    return {
        "recipe_id": record.id,
        "status": record.status,
        "message": record.message,
        "steps_done": record.done,
        "steps": len(record.steps),
        "runs": [run.model_dump() for run in record.runs],
        "questions": list(record.recipe.questions),
        "answers": [found.model_dump() for found in record.answers],
        "measures": [
            {"model": run.model, "run_id": run.run_id, **{one.key: [one.base, one.tuned] for one in found.measures}}
            for run in record.runs
            for found in load_evaluations(find_run(runs_dir, run.run_id).folder)[:1]
        ],
        "exports": [made.model_dump() for made in record.exports],
        "report": str(report),
    }


def _lines(runs_dir: Path, record: Record, report: Path) -> list[str]:
    """The answers side by side, the memory that training took, what there is to take home, and where the report is."""
    lines = []
    for number, question in enumerate(record.recipe.questions):
        lines += ["", question]
        for found in record.answers:
            by = "base" if found.by == BASE else found.by
            lines.append(f"  {f'{found.model} · {by}' if found.model else by}: {found.answers[number]}")
    for run in record.runs:
        if finished := find_run(runs_dir, run.run_id).snapshot().finished:
            figures = (f"{name} {value}" for name, value in memory_rows(record.device, finished))
            lines += ["", f"{f'{run.model} · {run.stage}' if run.model else run.stage}: {', '.join(figures)}"]
    lines += ["", f"{record.recipe.title}: {record.message}"]
    lines += [f"{made.to}: {made.url or f'{record.run_of(record.recipe.last.name, made.model)}/{made.out}'}"
              for made in record.exports]  # fmt: skip
    if record.status != "completed":
        lines.append(f"Continue it with: python app.py recipe {record.id}")
    return [*lines, f"Report: {report}"]
