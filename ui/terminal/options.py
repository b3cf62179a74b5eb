"""Arguments and options that several commands take."""

from pathlib import Path

import click

from core.settings.paths import default_runs_dir

preset_argument = click.argument("preset", metavar="PRESET_OR_YAML")
run_argument = click.argument("run", metavar="RUN_ID_OR_DIR")
runs_dir_option = click.option(
    "--runs-dir",
    type=click.Path(path_type=Path),
    default=default_runs_dir,
    envvar="HEARTHTUNE_RUNS_DIR",
    show_default="runs; on a Space with a disk, /data/runs",
    show_envvar=True,
    help="The folder where runs are kept.",
)
settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SECTION.NAME=VALUE",
    help="Change a setting, as in training.max_steps=20. Text is taken as typed; quotes around it are removed.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on the last line.")
