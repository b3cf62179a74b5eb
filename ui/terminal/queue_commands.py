"""The commands of the queue. What they do is imported only when they are used."""

from pathlib import Path

import click

from core.problems import ConfigError
from core.settings.presets import find_preset
from ui.terminal.options import json_option, preset_argument, runs_dir_option, settings_option


@click.group()
def queue() -> None:
    """Queue runs, to be trained one after the other: by `queue run`, or by the page while it is open.

    A run that fails does not stop the others. One that was stopped, or whose program died, is resumed first.
    """


@queue.command()
@preset_argument
@settings_option
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="SECTION.NAME=VALUES",
    help="Queue a run for each of several values, as in training.learning_rate=1e-4,2e-4,5e-4. Give it twice to queue "
    "every combination.",
)
@click.option("--small", is_flag=True, help="For a recipe: use the demo model and a few rows of our own.")
@runs_dir_option
@json_option
def add(
    preset: str, settings: tuple[str, ...], varied: tuple[str, ...], small: bool, runs_dir: Path, as_json: bool
) -> None:
    """Add a run at the end of the queue, several variations of one, or the stages of a recipe, given by its name."""
    from core.settings.recipes import find_recipe, recipe_names
    from ui.terminal.queue_work import add_and_report, add_stages_and_report

    if preset in recipe_names():
        if varied:
            raise ConfigError("A recipe has no variations; leave out --vary, or name a preset.")
        add_stages_and_report(runs_dir, find_recipe(preset, small).with_settings(list(settings)), as_json)
        return
    if small:
        raise ConfigError("{preset!r:.80} is not a recipe; leave out --small, or name a recipe.", preset=preset)
    chosen = find_preset(preset, runs_dir)
    add_and_report(runs_dir, chosen.config.with_settings(list(settings)), chosen.name, varied, as_json)


@queue.command("list")
@runs_dir_option
@json_option
def list_(runs_dir: Path, as_json: bool) -> None:
    """List the runs of the queue, and how long they will take, where that is known."""
    from ui.terminal.queue_work import list_and_report

    list_and_report(runs_dir, as_json)


@queue.command()
@click.option(
    "--when-empty", default="", metavar="COMMAND", help="Run this shell command after the last run has ended."
)
@runs_dir_option
@json_option
def run(when_empty: str, runs_dir: Path, as_json: bool) -> int:
    """Train the runs of the queue until it is empty. Ends a pause.

    Ctrl-C stops the run in progress and pauses the queue; `queue run` then continues from there. The exit code is 1 if
    a run failed.
    """
    from ui.terminal.queue_work import run_and_report

    return run_and_report(runs_dir, when_empty, as_json)


@queue.command()
@click.argument("entries", metavar="ID...", nargs=-1, required=True)
@runs_dir_option
def drop(entries: tuple[str, ...], runs_dir: Path) -> None:
    """Take runs out of the queue. A run that has started stays in the list of runs."""
    from core.runs.queue_file import QueueFile

    QueueFile(runs_dir.resolve()).drop(entries)


@queue.command()
@click.argument("entry", metavar="ID")
@click.argument("place", type=click.IntRange(1))
@runs_dir_option
def move(entry: str, place: int, runs_dir: Path) -> None:
    """Move a run to another place in the queue; 1 is the next."""
    from core.runs.queue_file import QueueFile

    QueueFile(runs_dir.resolve()).move(entry, place)
