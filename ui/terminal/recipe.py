"""The command that runs a recipe. What it does is imported only when it is used."""

from pathlib import Path

import click

from core.problems import tr
from core.settings.recipes import find_recipe, list_recipes
from ui.terminal.options import json_option, runs_dir_option


@click.command()
@click.argument("name", metavar="[RECIPE_OR_YAML]", required=False)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="STAGE.SECTION.NAME=VALUE",
    help="Change a setting of a stage, as in price.training.max_steps=20.",
)
@click.option(
    "--small", is_flag=True, help="Use the demo model and a few rows of our own; takes minutes on any machine."
)
@runs_dir_option
@json_option
def recipe(name: str | None, settings: tuple[str, ...], small: bool, runs_dir: Path, as_json: bool) -> int:
    """Run a recipe: look at the rows, train its stages, ask, measure and export, with one report at the end.

    Without a name, list the recipes. A recipe that ended early continues if you give its id, which is printed at the
    end.
    """
    if name is None:
        for found in list_recipes():
            print(f"{found.name:<20} {found.card:<8} {found.title}: {found.description}")
        return 0
    from core.workbench.recipe_record import record_ids
    from ui.terminal.recipe_command import continue_and_report, recipe_and_report

    if name in record_ids(runs_dir):
        if settings or small:
            raise click.UsageError(tr("A recipe that was started keeps its settings; start it anew to change them."))
        return continue_and_report(runs_dir, name, as_json)
    return recipe_and_report(runs_dir, find_recipe(name, small).with_settings(list(settings)), as_json)
