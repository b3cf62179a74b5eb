"""The commands that take a run out of the app. What they do is imported only when they are used."""

from pathlib import Path

import click

from ui.terminal.options import json_option, run_argument, runs_dir_option


@click.command()
@run_argument
@click.option(
    "--to",
    type=click.Choice(["adapter", "merged", "gguf", "lora-gguf", "ollama"]),
    required=True,
    help="What to export: see the README's table.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    default="bfloat16",
    show_default=True,
    help="Precision of a merged model.",
)
@click.option(
    "--base",
    type=click.Choice(["trained", "original"]),
    default="trained",
    show_default=True,
    help="What to merge into: the base as it was trained on, or its original 16-bit weights.",
)
@click.option("--checkpoint", type=click.IntRange(1), metavar="STEP", help="Export the checkpoint of this step.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write; inside the run by default."
)
@runs_dir_option
@click.option(
    "--quant",
    default="q8_0",
    show_default=True,
    help="GGUF: f32 f16 bf16 q8_0 q6_k q5_k_m q4_k_m, or several: f16,q8_0.",
)
@click.option("--no-check", is_flag=True, help="Do not test whether the export answers as the model did.")
@json_option
def export(run: str, runs_dir: Path, as_json: bool, **wanted) -> int:
    """Export a run for other programs, and test that it answers there as it did here."""
    from ui.terminal.export_command import export_and_report

    return export_and_report(runs_dir, run, as_json, **wanted)


@click.command()
@run_argument
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write; inside the run by default."
)
@runs_dir_option
@json_option
def script(run: str, out: Path | None, runs_dir: Path, as_json: bool) -> None:
    """Write train.py, with the run's rows beside it, which trains the same adapter without this app."""
    from ui.terminal.export_command import write_script_and_report

    write_script_and_report(runs_dir, run, out, as_json)


@click.command("bring-in")
@click.argument("name", metavar="FOLDER_OR_NAME")
@click.option("--base", metavar="MODEL", help="The model it is for, if that is not the one that it names.")
@runs_dir_option
@json_option
def bring_in(name: str, base: str | None, runs_dir: Path, as_json: bool) -> None:
    """Make a run of an adapter that was trained elsewhere, to compare, measure and export it.

    It is a folder that PEFT saved, or a repository on Hugging Face.
    """
    from ui.terminal.export_command import bring_in_and_report

    bring_in_and_report(runs_dir, name, base, as_json)
