"""What the commands of the queue do: progress goes to standard error, results to standard output."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten

from core.memory.hardware import detect_machine
from core.model.model_files import code_warning
from core.problems import ConfigError
from core.runs.queue_file import QueueFile
from core.runs.run_folder import find_run
from core.runs.run_list import RunList
from core.settings.recipes import Recipe
from core.settings.run_config import RunConfig
from core.settings.steps import steps_of, warmup_warning
from core.settings.variations import variations
from core.workbench.queue_times import QueueTimes
from core.workbench.workbench import Workbench
from ui.runs.group_view import GroupTable, group_of, group_table
from ui.terminal.commands import CTRL_C, hub_token
from ui.terminal.progress import show_progress, stdout_for_results
from ui.terminal.results import closing_words, result_values
from ui.train.queue_view import Row, rows_of, summary_text

SECONDS_BETWEEN_LOOKS = 0.5
CELL_CHARACTERS = 40


def add_and_report(runs_dir: Path, config: RunConfig, preset: str, varied: Sequence[str], as_json: bool) -> None:
    runs = [("", config)]
    if varied:
        values = {}
        for setting in varied:
            name, equals, text = setting.partition("=")
            if not equals:
                raise ConfigError(
                    "{setting!r} does not say what to vary; write section.name=values, as in adapter.r=16,32.",
                    setting=setting,
                )
            values[name] = text
        runs = [(run.name, run.config) for run in variations(config, values)]
    _add(runs_dir, [runs], preset, as_json)


def add_stages_and_report(runs_dir: Path, recipe: Recipe, as_json: bool) -> None:
    """The stages on each of the recipe's models are a group; a later one continues from an earlier by its name."""
    models = list(recipe.models) or [""]
    _add(
        runs_dir,
        [[(stage.name, recipe.config_of(stage, model)) for stage in recipe.stages] for model in models],
        "",
        as_json,
    )


def _add(runs_dir: Path, groups: Sequence[list[tuple[str, RunConfig]]], preset: str, as_json: bool) -> None:
    for warning in dict.fromkeys(warning for runs in groups for _, one in runs for warning in _warnings(one)):
        print(warning, file=sys.stderr)
    queue = Workbench(runs_dir.resolve()).queue
    added = [entry for runs in groups for entry in queue.add(runs, preset, hub_token())]
    if as_json:
        print(json.dumps([{"id": entry.id, "name": entry.title} for entry in added], ensure_ascii=False))
    else:
        print(*(f"{entry.id}  {entry.title}" for entry in added), sep="\n")


def _warnings(config: RunConfig) -> list[str]:
    model = config.model
    code = code_warning(model.model_name) if model.trust_remote_code is not None else ""
    return [said for said in (code, warmup_warning(config.training, steps_of(config, None))) if said]


def list_and_report(runs_dir: Path, as_json: bool) -> None:
    runs = RunList(runs_dir.resolve())
    queue = QueueFile(runs.runs_dir).read()
    rows = {row.id: row for row in runs.rows(fresh=True)}
    left = QueueTimes(runs).left(queue, detect_machine(), None)
    if as_json:
        entries = [
            {"id": e.id, "name": e.title, "run_id": e.run_id, "group": e.group, "seconds": left[e.id], "fault": e.fault}
            for e in queue.entries
        ]
        print(json.dumps({"is_paused": queue.is_paused, "entries": entries}, ensure_ascii=False))
        return
    if not queue.entries:
        print("The queue is empty.")
        return
    print(*(_line(row) for row in rows_of(queue, rows, left)), summary_text(queue, left), sep="\n")


def _line(row: Row) -> str:
    return f"{row.id}  {row.name}: {row.fault or row.words}"


def run_and_report(runs_dir: Path, when_empty: str, as_json: bool) -> int:
    with stdout_for_results() as results:
        workbench = Workbench(runs_dir.resolve())
        queue = workbench.queue
        queue.when_empty = when_empty
        queue.go_on()
        ended, has_waited, was_interrupted = [], False, False
        while not was_interrupted:
            run = queue.look()
            if run is None:
                now = queue.read()
                if now.next is None or now.is_paused:
                    break
                if not has_waited:
                    print("Waiting for a run that is in progress in another program.", file=sys.stderr)
                has_waited = True
                time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            print(f"{run.name}:", file=sys.stderr)
            # Paused at once, or a page with the same queue would resume the run as soon as it stops.
            was_interrupted = show_progress(workbench, on_stop=queue.hold)
            snapshot = workbench.wait()
            ended.append((snapshot, run))
            said = f"{run.name}: {snapshot.message}" if snapshot.status == "failed" else ""
            print(said or closing_words(snapshot, run.folder), file=sys.stderr if said or as_json else results)
        if was_interrupted:
            queue.look()  # pauses the queue
        tables = _tables(workbench.runs, [run.id for _, run in ended])
        if as_json:
            runs = [result_values(snapshot, run.folder) for snapshot, run in ended]
            print(json.dumps({"runs": runs, "groups": [asdict(table) for table in tables]}), file=results)
        for table in () if as_json else tables:
            print(*_lines(table), sep="\n", file=results)
    if was_interrupted:
        return CTRL_C
    return 1 if any(snapshot.status == "failed" for snapshot, _ in ended) else 0


def _tables(runs: RunList, ended: Sequence[str]) -> list[GroupTable]:
    """A table for each group of which a run has ended here."""
    runs.rows(fresh=True)
    groups = dict.fromkeys(find_run(runs.runs_dir, run).group for run in ended)
    return [group_table(runs, rows) for group in groups if len(rows := group_of(runs, group)) > 1]


def _lines(table: GroupTable) -> list[str]:
    # On one line, and not the whole of a prompt template.
    cells = [table.titles, *([shorten(text, CELL_CHARACTERS, placeholder="…") for text in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.titles))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if table.best is not None:
        lines[table.best + 1] += "  best"
    return ["", *lines]
