"""Saves the evaluations of a run as JSON files in its folder, and reads them back."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from core.disk.atomic import write_whole
from core.disk.tolerant_reading import Unreadable, read_text
from core.evaluation.record import Evaluation
from core.problems import RunError, tr


def save(found: Evaluation, run_dir: Path) -> Path:
    """Writes an evaluation into the run's folder and returns its file. Raises RunError when it cannot be written."""
    folder = run_dir / "evaluations"
    stamp = int(found.made)
    try:
        folder.mkdir(exist_ok=True)
        while (file := folder / f"{datetime.fromtimestamp(stamp):%Y%m%d-%H%M%S}.json").exists():
            stamp += 1  # another was made within the same second
        write_whole(file, found.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise RunError(
            "The evaluation cannot be saved in {folder}: {reason}.", folder=folder, reason=error.strerror or error
        ) from None
    return file


def load_evaluations(run_dir: Path, say: Callable[[str], None] = lambda sentence: None) -> list[Evaluation]:
    """A run's evaluations, the newest first. One that cannot be read is left out, and `say` gets the reason."""
    found = []
    for file in sorted((run_dir / "evaluations").glob("*.json"), reverse=True):
        try:
            found.append(Evaluation.model_validate_json(read_text(file)))
        except Unreadable as error:
            say(tr("The evaluation in {file} cannot be read: {reason}.", file=file.name, reason=error))
        except ValidationError:
            say(tr("The evaluation in {file} cannot be read: the file is damaged.", file=file.name))
    return found
