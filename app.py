"""The command line: the page, and the same work without it.

    python app.py                                open the page; with --window in a window of its own
    python app.py presets                        list the presets
    python app.py train demo-yoda                train, with a progress bar
    python app.py recipe yoda --small            look, train, ask, measure and export, with one report at the end
    python app.py inspect FILE_OR_NAME           show what training would read of these rows
    python app.py estimate llama-3.1-8b          estimate whether it fits; --gpu "RTX 3060 12GB" for another card
    python app.py probe llama-3.1-8b             measure it instead, with two real steps
    python app.py resume RUN                     continue a run that ended early
    python app.py queue add|list|run|drop|move   train several runs, one after the other
    python app.py compare RUN --prompt "Hello."  show the answers of base and tuned
    python app.py evaluate RUN                   measure both on rows, each difference with its interval
    python app.py report RUN                     write everything about a run into one HTML file
    python app.py export RUN --to merged         write a model that other programs can load
    python app.py push RUN OWNER/NAME            put that into a repository on Hugging Face
    python app.py bring-in FOLDER_OR_NAME        make a run of an adapter that was trained elsewhere
    python app.py script RUN                     write a script that trains the same without this app

Exit codes: 0; 2 for bad input, with one sentence on standard error; 1 for a run that failed; 130 for Ctrl-C.

Heavy modules are imported where they are used, so that help and presets appear at once.
"""

# ruff: noqa: E402  the language comes first

import json
import os
import sys
from pathlib import Path

import click

from core.settings.language_option import OPTION, VARIABLE, set_language

set_language(sys.argv[1:])
from core.problems import LANGUAGES, Problem, first_line, tr
from core.runs.uploads import make_uploads_dir
from core.settings.importing import without_collecting
from core.settings.presets import find_preset, list_presets
from ui.access import needs_consent
from ui.desktop.second_start import shows_another
from ui.listening import why_not_listening
from ui.proxies import go_past_proxies
from ui.terminal.options import json_option, preset_argument, run_argument, runs_dir_option, settings_option
from ui.terminal.queue_commands import queue
from ui.terminal.recipe import recipe
from ui.terminal.take_home import bring_in, export, push, script

PORTS = click.IntRange(1, 65535)


# Environment variables: a Hugging Face Space uses Gradio's to say where it expects the page.
@click.group(invoke_without_command=True, help="Fine-tune a Llama at home. Without a command, open the page.")
@click.option(
    "--host", default="127.0.0.1", envvar="GRADIO_SERVER_NAME", show_default=True, help="Address to listen on."
)
@click.option(
    "--port", type=PORTS, default=7860, envvar="GRADIO_SERVER_PORT", show_default=True, help="Port to listen on."
)
@runs_dir_option
@click.option("--share", is_flag=True, help="Create a public link through Gradio's servers.")
@click.option(
    "--auth", default="", envvar="HEARTHTUNE_AUTH", metavar="USER:PASSWORD", help="Require this name and password."
)
@click.option(
    "--i-know",
    is_flag=True,
    envvar="HEARTHTUNE_I_KNOW",
    help="Let anyone who can reach the page load models, upload files, download public models and datasets, train and "
    "ask, each with runs of their own, without --auth.",
)
@click.option(
    "--demo",
    is_flag=True,
    envvar="HEARTHTUNE_DEMO",
    help="Run a public demo: only the demo model, short runs one at a time, everything deleted after an hour.",
)
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option(
    "--window", is_flag=True, help="Open a window of its own instead of a browser; closing it ends the program."
)
@click.option(
    "--when-queue-empty",
    default="",
    metavar="COMMAND",
    help="Run this shell command each time the last run of the queue has ended.",
)
@click.option(
    OPTION,
    type=click.Choice(list(LANGUAGES)),
    envvar=VARIABLE,
    expose_value=False,  # it has been set above
    help="Language of the page, errors and reports. Defaults to the system's language if that is Korean, otherwise "
    "English.",
)
@click.pass_context
def app(
    context, host: str, port: int, runs_dir: Path, share: bool, auth: str, i_know: bool, demo: bool, no_browser: bool,
    window: bool, when_queue_empty: str,
) -> None:  # fmt: skip
    go_past_proxies(host)
    if context.invoked_subcommand:
        return
    user, colon, password = auth.partition(":")
    if auth and not (user and colon and password):
        raise click.UsageError(tr("--auth takes a name and a password, for example --auth ada:secret"))
    if window and no_browser:
        raise click.UsageError(tr("Give --window or --no-browser, not both."))
    if not auth and not i_know and not demo and (sentence := needs_consent(host, share)):
        raise click.UsageError(sentence)
    runs_dir = runs_dir.resolve()
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host  # IPv6, as written in a URL
    show = {"in_window": window, "inbrowser": not window and not no_browser}
    if shows_another(host, port, runs_dir, **show):
        return
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ["GRADIO_TEMP_DIR"] = str(make_uploads_dir(runs_dir))  # uploads stay with the person's other files
    with without_collecting():
        from core.visitors.policy import DEMO, OPEN
        from core.workbench.workbench import Workbench
        from ui.page import serve

    login = (user, password) if auth else None
    policy = DEMO if demo else OPEN if i_know and not auth else None
    workbench = Workbench(runs_dir)
    workbench.queue.when_empty = when_queue_empty
    try:
        serve(workbench, host, port, share=share, auth=login, policy=policy, **show)
    except OSError as error:
        if shows_another(host, port, runs_dir, **show):  # it has started meanwhile
            return
        if reason := why_not_listening(host, port):
            place = f"{host}:{port}"
            sentence = tr(
                "The page cannot listen on {place} ({reason}); try another --port or --host.",
                place=place,
                reason=reason,
            )
        else:
            sentence = tr("The page cannot start: {reason}.", reason=first_line(error))
        raise click.ClickException(sentence) from None


@app.command()
@runs_dir_option
@json_option
def presets(runs_dir: Path, as_json: bool) -> None:
    """List the presets, including those you saved on the page."""
    found = list_presets(runs_dir)
    if as_json:
        print(json.dumps([preset.model_dump() for preset in found]))
        return
    for preset in found:
        print(f"{preset.name:<16} {preset.card:<14} {preset.title}: {preset.description}")


@app.command()
@preset_argument
@settings_option
@runs_dir_option
@json_option
def train(preset: str, settings: tuple[str, ...], runs_dir: Path, as_json: bool) -> int:
    """Train without the page. Gated models need a token in HF_TOKEN."""
    from ui.terminal.commands import train_and_report

    chosen = find_preset(preset, runs_dir)
    return train_and_report(runs_dir, chosen.config.with_settings(list(settings)), chosen.name, as_json)


@app.command()
@click.argument("rows", metavar="FILE_OR_NAME")
@settings_option
@runs_dir_option
@json_option
def inspect(rows: str, settings: tuple[str, ...], runs_dir: Path, as_json: bool) -> int:
    """Show what training would read from a file, a folder, a Hugging Face dataset, or a preset's rows.

    Reads all rows with the model's tokenizer, without its weights. For a preset, the model is the preset's own;
    otherwise it is that of the preset the page opens with. Choose another one with --set model.model_name=NAME.
    """
    from ui.terminal.commands import inspect_and_report

    return inspect_and_report(rows, list(settings), runs_dir, as_json)


@app.command()
@preset_argument
@settings_option
@click.option(
    "--gpu", metavar="CARD", help='A graphics card, such as "RTX 3060 12GB" or 12GB. The default is this machine.'
)
@runs_dir_option
@json_option
def estimate(preset: str, settings: tuple[str, ...], gpu: str | None, runs_dir: Path, as_json: bool) -> None:
    """Estimate whether training fits, and what would make it fit, without loading a model."""
    from ui.terminal.commands import estimate_and_report

    estimate_and_report(runs_dir, find_preset(preset, runs_dir).config.with_settings(list(settings)), gpu, as_json)


@app.command()
@preset_argument
@settings_option
@runs_dir_option
@json_option
def probe(preset: str, settings: tuple[str, ...], runs_dir: Path, as_json: bool) -> int:
    """Measure two real steps, then undo them: peak memory, seconds per step, and the time of the whole run."""
    from ui.terminal.commands import probe_and_report

    return probe_and_report(runs_dir, find_preset(preset, runs_dir).config.with_settings(list(settings)), as_json)


@app.command()
@run_argument
@runs_dir_option
@json_option
def resume(run: str, runs_dir: Path, as_json: bool) -> int:
    """Continue a run that was stopped, failed or was interrupted, from its newest checkpoint."""
    from ui.terminal.commands import resume_and_report

    return resume_and_report(runs_dir, run, as_json)


@app.command()
@run_argument
@click.option(
    "--prompt", "prompts", multiple=True, required=True, metavar="TEXT", help="A question. Can be given several times."
)
@click.argument("more", nargs=-1, metavar="[TEXT]...")
@runs_dir_option
@json_option
def compare(run: str, prompts: tuple[str, ...], more: tuple[str, ...], runs_dir: Path, as_json: bool) -> None:
    """Ask a run's base and tuned model the same questions, with greedy decoding."""
    from ui.terminal.commands import compare_and_report

    compare_and_report(runs_dir, run, (*prompts, *more), as_json)


@app.command()
@run_argument
@click.option("--data", metavar="FILE", help="Measure on the rows of this file instead of the run's validation rows.")
@click.option(
    "--prompts", metavar="FILE", help="Measure on prompts without reference answers, one per line or as JSON."
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Measure at most this many, sampled with a fixed seed.",
)
@runs_dir_option
@json_option
def evaluate(run: str, data: str | None, prompts: str | None, rows: int, runs_dir: Path, as_json: bool) -> int:
    """Measure a run's base and tuned model on rows that neither was trained on, and save the result with the run."""
    if data and prompts:
        raise click.UsageError(tr("Give --data or --prompts, not both."))
    from ui.terminal.commands import evaluate_and_report

    return evaluate_and_report(runs_dir, run, data, prompts, rows, as_json)


@app.command()
@run_argument
@runs_dir_option
def report(run: str, runs_dir: Path) -> None:
    """Write everything about a run to one HTML file that any browser opens, and print its path."""
    from core.runs.run_folder import find_run
    from ui.report.report import write_report

    try:
        print(write_report(find_run(runs_dir, run)))
    except OSError as error:
        sentence = tr("The report cannot be written: {reason}.", reason=error.strerror or error)
        raise click.ClickException(sentence) from None


for command in (recipe, queue, export, push, script, bring_in):
    app.add_command(command)


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
