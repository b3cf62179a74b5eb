"""The commands that take a run out of the app. What they do is imported only when they are used."""

from pathlib import Path

import click

from ui.terminal.options import export_options, json_option, run_argument, runs_dir_option


@click.command()
@run_argument
@click.option(
    "--to",
    type=click.Choice(["adapter", "merged", "gguf", "lora-gguf", "ollama"]),
    required=True,
    help="What to export: see the README's table.",
)
@export_options
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write; inside the run by default."
)
@runs_dir_option
@json_option
def export(run: str, to: str, out: Path | None, runs_dir: Path, as_json: bool, **options) -> int:
    """Export a run for other programs, and test that it answers there as it did here."""
    from ui.terminal.export_command import Options, export_and_report

    return export_and_report(runs_dir, run, to, out, Options(**options), as_json)


@click.command()
@run_argument
@click.argument("repository", metavar="OWNER/NAME")
@click.option(
    "--what",
    type=click.Choice(["adapter", "merged", "gguf"]),
    default="adapter",
    show_default=True,
    help="What to export and push.",
)
@click.option("--public", is_flag=True, help="Let everybody see the repository, if it is created now.")
@click.option("--revision", metavar="BRANCH", help="Push to this branch; it is created if there is none.")
@export_options
@runs_dir_option
@json_option
def push(
    run: str,
    repository: str,
    what: str,
    public: bool,
    revision: str | None,
    runs_dir: Path,
    as_json: bool,
    **options,
) -> int:
    """Export a run, test it, and put it into a repository on Hugging Face, which is private unless you say --public.

    Needs a token with write access in HF_TOKEN. An existing repository is updated and keeps its visibility.
    """
    from ui.terminal.export_command import Options
    from ui.terminal.push_command import Repository, push_and_report

    to = Repository(repository, revision, is_private=not public)
    return push_and_report(runs_dir, run, what, to, Options(**options), as_json)


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
@click.option("--base", metavar="MODEL", help="The base model, if it is not the one the adapter names.")
@click.option("--revision", help="Branch, tag or commit of the repository.")
@runs_dir_option
@json_option
def bring_in(name: str, base: str | None, revision: str | None, runs_dir: Path, as_json: bool) -> None:
    """Make a run of an adapter that was trained elsewhere, to compare, measure and export it.

    It is a folder that PEFT saved, or a repository on Hugging Face.
    """
    from ui.terminal.export_command import bring_in_and_report

    bring_in_and_report(runs_dir, name, base, revision, as_json)
