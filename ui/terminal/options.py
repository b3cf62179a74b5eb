"""Arguments and options that several commands take."""

from collections.abc import Callable
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


def export_options(command: Callable) -> Callable:
    """The options that say how a run is exported: `dtype`, `base`, `checkpoint`, `quant` and `no_check`."""
    for option in (
        click.option("--no-check", is_flag=True, help="Do not test whether the export answers as the model did."),
        click.option(
            "--quant",
            default="q8_0",
            show_default=True,
            help="GGUF: f32 f16 bf16 q8_0 q6_k q5_k_m q4_k_m, or several: f16,q8_0.",
        ),
        click.option(
            "--checkpoint", type=click.IntRange(1), metavar="STEP", help="Export the checkpoint of this step."
        ),
        click.option(
            "--base",
            type=click.Choice(["trained", "original"]),
            default="trained",
            show_default=True,
            help="What to merge into: the base as it was trained on, or its original 16-bit weights.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["bfloat16", "float16", "float32"]),
            default="bfloat16",
            show_default=True,
            help="Precision of a merged model.",
        ),
    ):
        command = option(command)
    return command
