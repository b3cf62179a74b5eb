"""The command line: the page, and the same work without it.

    python app.py                                the page
    python app.py presets                        what there is to start from
    python app.py train demo-yoda                a run, with a progress bar
    python app.py estimate llama-3.1-8b          whether it will fit, with --gpu "RTX 3060 12GB" on another card
    python app.py probe llama-3.1-8b             the same, measured by one real step
    python app.py resume RUN                     goes on with one that ended before its time
    python app.py compare RUN --prompt "Hello."  base and tuned, one after the other
    python app.py evaluate RUN                   both measured on rows, each difference with its interval
    python app.py report RUN                     all that is known of a run as one HTML file

Exit codes: 0; 2 for bad input, with one sentence on standard error; 1 for a run that failed; 130 for Ctrl-C.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click

from core.model.model_files import code_warning
from core.problems import Problem, TrainingError
from core.runs.run_folder import Run, find_run
from core.runs.uploads import uploads_dir
from core.settings.presets import find_preset, list_presets
from core.settings.run_config import RunConfig
from core.stopping import Stopped
from core.workbench.workbench import Workbench
from ui.access import needs_consent
from ui.terminal.progress import ctrl_c_calls, progress_bar, show_progress, stdout_for_results
from ui.terminal.results import closing_words, result_values

runs_dir_option = click.option(
    "--runs-dir", type=click.Path(path_type=Path), default="runs", show_default=True, help="Where runs are kept."
)
settings_option = click.option(
    "--set", "settings", multiple=True, metavar="PART.FIELD=VALUE", help="As in training.max_steps=20."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, on the last line.")


@click.group(invoke_without_command=True, help="Fine-tune a Llama at home. Without a command: show the page.")
@click.option(  # a Space says through these variables where it wants to find the page
    "--host", default="127.0.0.1", envvar="GRADIO_SERVER_NAME", show_default=True, help="Address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=7860,
    envvar="GRADIO_SERVER_PORT",
    show_default=True,
    help="Port to listen on.",
)
@runs_dir_option
@click.option("--share", is_flag=True, help="Make a public link through Gradio's servers.")
@click.option(
    "--auth", default="", envvar="HEARTHTUNE_AUTH", metavar="USER:PASSWORD", help="Ask for this name and password."
)
@click.option(
    "--i-know",
    is_flag=True,
    envvar="HEARTHTUNE_I_KNOW",
    help="Let anyone who can reach the page use it, without --auth.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.pass_context
def app(context, host: str, port: int, runs_dir: Path, share: bool, auth: str, i_know: bool, no_browser: bool) -> None:
    if context.invoked_subcommand:
        return
    user, colon, password = auth.partition(":")
    if auth and not (user and colon and password):
        raise click.UsageError("--auth takes a name and a password, as in --auth ada:secret")
    if not auth and not i_know and (sentence := needs_consent(host, share)):
        raise click.UsageError(sentence)
    runs_dir = runs_dir.resolve()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ["GRADIO_TEMP_DIR"] = str(uploads_dir(runs_dir))  # what people bring stays with what is theirs
    from ui.page import serve

    login = (user, password) if auth else None
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host  # of IPv6, as in an address
    try:
        serve(Workbench(runs_dir), host, port, share=share, auth=login, any_host=i_know, inbrowser=not no_browser)
    except OSError as error:
        raise click.ClickException(
            f"The page cannot listen on {host}:{port} ({str(error).splitlines()[0]}); try another --port or --host."
        ) from None


@app.command()
@json_option
def presets(as_json: bool) -> None:
    """List what there is to start from."""
    found = list_presets()
    if as_json:
        print(json.dumps([preset.model_dump() for preset in found]))
        return
    for preset in found:
        print(f"{preset.name:<16} {preset.card:<14} {preset.title}: {preset.description}")


@app.command()
@click.argument("preset", metavar="PRESET_OR_YAML")
@settings_option
@runs_dir_option
@json_option
def train(preset: str, settings: tuple[str, ...], runs_dir: Path, as_json: bool) -> int:
    """Train without the page. A token for gated models is read from HF_TOKEN."""
    chosen = find_preset(preset)
    config = chosen.config.with_settings(list(settings))
    _warn_of_code(config)
    return _train_to_the_end(
        runs_dir, as_json, lambda workbench: workbench.start(config, chosen.name, os.environ.get("HF_TOKEN"))
    )


@app.command()
@click.argument("preset", metavar="PRESET_OR_YAML")
@settings_option
@click.option("--gpu", metavar="CARD", help='As in "RTX 3060 12GB", or 12GB; without it, this machine.')
@runs_dir_option
@json_option
def estimate(preset: str, settings: tuple[str, ...], gpu: str | None, runs_dir: Path, as_json: bool) -> None:
    """Say whether training will fit, before any model is loaded, and what would make it fit."""
    from core.memory.cards import find_card, this_machine
    from core.memory.hardware import detect_machine
    from core.memory.model_shape import shape_of
    from core.memory.probe_log import latest_probe
    from ui.terminal.estimate_lines import as_values, in_lines

    config = find_preset(preset).config.with_settings(list(settings))
    machine = detect_machine()
    card = find_card(gpu) if gpu else this_machine(machine)
    shape = shape_of(config.model, os.environ.get("HF_TOKEN"))
    probe = None if gpu else latest_probe(runs_dir.resolve(), machine, config)
    if as_json:
        print(json.dumps(as_values(config, shape, card, probe)))
    else:
        print(*in_lines(config, shape, card, probe), sep="\n")


@app.command()
@click.argument("preset", metavar="PRESET_OR_YAML")
@settings_option
@runs_dir_option
@json_option
def probe(preset: str, settings: tuple[str, ...], runs_dir: Path, as_json: bool) -> int:
    """Measure one real step, then undo it: peak memory, seconds a step, and the time of the whole run."""
    from ui.terminal.estimate_lines import probe_lines

    config = find_preset(preset).config.with_settings(list(settings))
    _warn_of_code(config)
    with stdout_for_results() as results:
        workbench = Workbench(runs_dir.resolve())
        try:
            with ctrl_c_calls(workbench.stop_probe):
                record = workbench.probe(config, os.environ.get("HF_TOKEN"))
        except Stopped:
            print("Stopped; nothing was measured.", file=sys.stderr)
            return 130
        except TrainingError as error:
            print(error, file=sys.stderr)
            return 1
        if as_json:
            print(record.model_dump_json(), file=results)
        else:
            print(*probe_lines(record, workbench.probing.note), sep="\n", file=results)
    return 0


@app.command()
@click.argument("run", metavar="RUN_ID_OR_DIR")
@runs_dir_option
@json_option
def resume(run: str, runs_dir: Path, as_json: bool) -> int:
    """Go on with a run that was stopped, failed or interrupted, from its newest checkpoint."""
    _warn_of_code(find_run(runs_dir, run).config())
    return _train_to_the_end(runs_dir, as_json, lambda workbench: workbench.resume(run, os.environ.get("HF_TOKEN")))


def _warn_of_code(config: RunConfig) -> None:
    if config.model.trust_remote_code is not None:
        print(code_warning(config.model.model_name), file=sys.stderr)


def _train_to_the_end(runs_dir: Path, as_json: bool, begin: Callable[[Workbench], Run]) -> int:
    """Shows the run that `begin` starts, prints what came of it, and returns the exit code."""
    with stdout_for_results() as results:
        workbench = Workbench(runs_dir.resolve())
        run = begin(workbench)
        was_interrupted = show_progress(workbench)
        snapshot = workbench.wait()
        if as_json:
            print(json.dumps(result_values(snapshot, run.folder)), file=results)
        elif snapshot.status != "failed":
            print(closing_words(snapshot, run.folder), file=results)
    if was_interrupted:
        return 130
    if snapshot.status == "failed":
        print(snapshot.message, file=sys.stderr)
        return 2 if isinstance(workbench.failure, Problem) and workbench.failure.is_bad_input else 1
    return 0


@app.command()
@click.argument("run", metavar="RUN_ID_OR_DIR")
@click.option(
    "--prompt", "prompts", multiple=True, required=True, metavar="TEXT", help="A question; may stand several times."
)
@click.argument("more", nargs=-1, metavar="[TEXT]...")
@runs_dir_option
@json_option
def compare(run: str, prompts: tuple[str, ...], more: tuple[str, ...], runs_dir: Path, as_json: bool) -> None:
    """Ask a run's base and tuned model the same questions, taking the likeliest token each time."""
    from core.answering.sampling import Sampling

    found = []
    with stdout_for_results() as results:
        workbench = Workbench(runs_dir.resolve())
        workbench.lab.load_run(run, os.environ.get("HF_TOKEN"))
        for text in (*prompts, *more):
            *_, (base, tuned, difference) = workbench.lab.compare(text, "", Sampling())
            found.append({"prompt": text, "base": base.text, "tuned": tuned.text, "max_logit_difference": difference})
            if not as_json:
                print(f"\n{text}\n  base:  {base.text}\n  tuned: {tuned.text}", file=results)
                print(f"  largest logit difference: {difference:.2f}", file=results)
        if as_json:
            print(json.dumps(found, ensure_ascii=False), file=results)


@app.command()
@click.argument("run", metavar="RUN_ID_OR_DIR")
@click.option("--data", metavar="FILE", help="Rows of this file in place of the run's validation rows.")
@click.option(
    "--prompts", metavar="FILE", help="Prompts, one a line or as JSON, where there are no answers to compare with."
)
@click.option(
    "--rows", type=click.IntRange(1), default=200, show_default=True, help="At most so many, drawn with a fixed seed."
)
@runs_dir_option
@json_option
def evaluate(run: str, data: str | None, prompts: str | None, rows: int, runs_dir: Path, as_json: bool) -> int:
    """Measure a run's base and tuned model on rows that neither was trained on; kept with the run."""
    if data and prompts:
        raise click.UsageError("Give --data or --prompts, not both.")
    from core.evaluation.record import Source
    from core.workbench.measure_run import evaluate_run

    source = Source(kind="file" if data else "prompts" if prompts else "validation", path=data or prompts or "")
    found = find_run(runs_dir, run)
    _warn_of_code(found.config())
    with stdout_for_results() as results:
        lab = Workbench(found.folder.resolve().parent).lab
        try:
            pressed = threading.Event()
            with ctrl_c_calls(pressed.set), progress_bar() as show:
                evaluation = evaluate_run(lab, found, source, pressed.is_set, show, rows, os.environ.get("HF_TOKEN"))
        except Stopped:
            print("Stopped; nothing was saved.", file=sys.stderr)
            return 130
        if as_json:
            print(evaluation.model_dump_json(), file=results)
        else:
            from ui.terminal.measure_lines import evaluation_lines

            print(*evaluation_lines(evaluation), sep="\n", file=results)
    return 0


@app.command()
@click.argument("run", metavar="RUN_ID_OR_DIR")
@runs_dir_option
def report(run: str, runs_dir: Path) -> None:
    """Write all that is known of a run into one HTML file that opens anywhere, and print where it is."""
    from ui.report.report import write_report

    try:
        print(write_report(find_run(runs_dir, run)))
    except OSError as error:
        raise click.ClickException(f"The report cannot be written: {error.strerror or error}.") from None


def main() -> int:
    """Runs the command line and returns the exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing leaves this machine unasked
    try:
        return app(standalone_mode=False) or 0
    except click.ClickException as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Problem as error:
        print(error, file=sys.stderr)
        return 2 if error.is_bad_input else 1


if __name__ == "__main__":
    sys.exit(main())
