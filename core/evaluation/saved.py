from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from core.disk.atomic import write_whole
from core.disk.tolerant_reading import Unreadable, read_text
from core.evaluation.record import Evaluation
from core.problems import RunError


def save(found: Evaluation, run_dir: Path) -> Path:
    """Writes an evaluation into the run's folder. Raises RunError when that cannot be written."""
    folder = run_dir / "evaluations"
    stamp = int(found.made)
    try:
        folder.mkdir(exist_ok=True)
        while (file := folder / f"{datetime.fromtimestamp(stamp):%Y%m%d-%H%M%S}.json").exists():
            stamp += 1  # two within a second
        write_whole(file, found.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise RunError(f"The measures cannot be kept in {folder}: {error.strerror or error}.") from None
    return file


def load_evaluations(run_dir: Path, say: Callable[[str], None] = lambda sentence: None) -> list[Evaluation]:
    """Those of a run, the newest first. One that cannot be read is passed over, and said in a sentence."""
    found = []
    for file in sorted((run_dir / "evaluations").glob("*.json"), reverse=True):
        try:
            found.append(Evaluation.model_validate_json(read_text(file)))
        except Unreadable as error:
            say(f"The measures in {file.name} cannot be read: {error}.")
        except ValidationError:
            say(f"The measures in {file.name} cannot be read: the file is damaged.")
    return found
