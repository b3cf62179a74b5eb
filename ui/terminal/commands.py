"""The commands that load a model: progress goes to standard error, and only the result to standard output.

Each takes the folder of the runs and returns what the program exits with. A run that was given by its folder is used
with the other runs in the same place.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from core.answering.sampling import Sampling
from core.evaluation.record import Source
from core.memory.cards import find_card, this_machine
from core.memory.hardware import detect_machine
from core.memory.model_shape import shape_of
from core.memory.probe_log import latest_probe
from core.model.model_files import code_warning
from core.problems import Problem, TrainingError
from core.runs.run_folder import Run, find_run
from core.settings.presets import default_preset
from core.settings.run_config import RunConfig
from core.settings.steps import steps_of, warmup_warning
from core.threads import Stopped
from core.workbench.inspect_rows import config_for, inspect_rows
from core.workbench.measure_run import evaluate_run
from core.workbench.workbench import Workbench
from ui.terminal.estimate_lines import as_values, in_lines, probe_lines
from ui.terminal.inspect_lines import inspection_lines
from ui.terminal.measure_lines import evaluation_lines
from ui.terminal.progress import ctrl_c_calls, progress_bar, show_progress, stdout_for_results
from ui.terminal.results import answer_lines, closing_words, result_values

CTRL_C = 130  # the exit code of a program that Ctrl-C ended


def train_and_report(runs_dir: Path, config: RunConfig, preset: str, as_json: bool) -> int:
    _warn_about_code(config)
    if said := warmup_warning(config.training, steps_of(config, None)):
        print(said, file=sys.stderr)  # before a model is fetched
    return _to_the_end(
        runs_dir, lambda workbench: workbench.start(config, token=hub_token(), preset=preset), as_json, {said}
    )


def resume_and_report(runs_dir: Path, run: str, as_json: bool) -> int:
    found = find_run(runs_dir, run)
    _warn_about_code(found.config())
    return _to_the_end(found.folder.parent, lambda workbench: workbench.resume(found.id, hub_token()), as_json)


def _to_the_end(runs_dir: Path, begin: Callable[[Workbench], Run], as_json: bool, said: Collection[str] = ()) -> int:
    """`said` are notes of the receipt that were printed already."""
    with stdout_for_results() as results:
        workbench = Workbench(runs_dir.resolve())
        run = begin(workbench)
        was_interrupted = show_progress(workbench, said)
        snapshot = workbench.wait()
        if as_json:
            print(json.dumps(result_values(snapshot, run.folder)), file=results)
        elif snapshot.status != "failed":
            print(closing_words(snapshot, run.folder), file=results)
    if snapshot.pushed and snapshot.pushed.trouble:
        print(snapshot.pushed.trouble, file=sys.stderr)
    if was_interrupted:
        return CTRL_C
    if snapshot.status == "failed":
        print(snapshot.message, file=sys.stderr)
        return 2 if isinstance(workbench.failure, Problem) and workbench.failure.is_bad_input else 1
    return 0


def inspect_and_report(rows: str, settings: list[str], runs_dir: Path, as_json: bool) -> int:
    config = config_for(rows, settings, default_preset(detect_machine().is_gpu), runs_dir)
    _warn_about_code(config)
    with stdout_for_results() as results:
        pressed = threading.Event()
        try:
            with ctrl_c_calls(pressed.set), progress_bar() as show:
                found = inspect_rows(config, hub_token(), pressed.is_set, show)
        except Stopped:
            print("Stopped before all rows were read.", file=sys.stderr)
            return CTRL_C
        if as_json:
            print(json.dumps(found.model_dump(exclude={"notes"}), ensure_ascii=False), file=results)
        else:
            print(*inspection_lines(found, config), sep="\n", file=results)
    return 0


def estimate_and_report(runs_dir: Path, config: RunConfig, gpu: str | None, as_json: bool) -> None:
    machine = detect_machine()
    card = find_card(gpu) if gpu else this_machine(machine)
    shape = shape_of(config.model, hub_token())
    probe = None if gpu else latest_probe(runs_dir.resolve(), machine, config)
    if as_json:
        print(json.dumps(as_values(config, shape, card, probe)))
    else:
        print(*in_lines(config, shape, card, probe), sep="\n")


def probe_and_report(runs_dir: Path, config: RunConfig, as_json: bool) -> int:
    _warn_about_code(config)
    with stdout_for_results() as results:
        workbench = Workbench(runs_dir.resolve())
        try:
            with ctrl_c_calls(workbench.stop_probe):
                record = workbench.probe(config, hub_token())
        except Stopped:
            print("Stopped; nothing was measured.", file=sys.stderr)
            return CTRL_C
        except TrainingError as error:
            print(error, file=sys.stderr)
            return 1
        if as_json:
            print(record.model_dump_json(), file=results)
        else:
            print(*probe_lines(record, workbench.probing.note), sep="\n", file=results)
    return 0


def compare_and_report(runs_dir: Path, run: str, prompts: Sequence[str], as_json: bool) -> None:
    found, answers = find_run(runs_dir, run), []
    with stdout_for_results() as results:
        lab = Workbench(found.folder.parent).lab
        lab.load_run(found.id, hub_token())
        for text in prompts:
            *_, (base, tuned, difference) = lab.compare(text, "", Sampling())
            answers.append({"prompt": text, "base": base.text, "tuned": tuned.text, "max_logit_difference": difference})
            if not as_json:
                print(*answer_lines(answers[-1]), sep="\n", file=results)
        if as_json:
            print(json.dumps(answers, ensure_ascii=False), file=results)


def evaluate_and_report(
    runs_dir: Path, run: str, data: str | None, prompts: str | None, rows: int, as_json: bool
) -> int:
    found = find_run(runs_dir, run)
    source = Source(kind="file" if data else "prompts" if prompts else "validation", path=data or prompts or "")
    _warn_about_code(found.config())
    with stdout_for_results() as results:
        lab = Workbench(found.folder.parent).lab
        pressed = threading.Event()
        try:
            with ctrl_c_calls(pressed.set), progress_bar() as show:
                evaluation = evaluate_run(lab, found, source, pressed.is_set, show, rows, hub_token())
        except Stopped:
            print("Stopped; nothing was saved.", file=sys.stderr)
            return CTRL_C
        if as_json:
            print(evaluation.model_dump_json(), file=results)
        else:
            print(*evaluation_lines(evaluation), sep="\n", file=results)
    return 0


def hub_token() -> str | None:
    return os.environ.get("HF_TOKEN")


def _warn_about_code(config: RunConfig) -> None:
    if config.model.trust_remote_code is not None:
        print(code_warning(config.model.model_name), file=sys.stderr)
