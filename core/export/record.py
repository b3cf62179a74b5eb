"""What was exported of a run, and what its self-test found; the newest of each kind is saved with the run."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from core.disk.atomic import write_whole
from core.disk.tolerant_reading import Unreadable, read_text
from core.export.checks import Check
from core.export.export_files import ExportedFile
from core.export.wanted import Wanted, default_folder
from core.problems import ExportError, mark, tr
from core.runs.run_folder import Run

GGUF_KINDS = ("gguf", "lora-gguf", "ollama")
FAILED = "-failed"  # appended to the name of a GGUF file, or of another export's folder, that did not pass its test
NOT_NOTED = mark(
    "The export is in {out}, but the run's folder cannot keep a note of it ({reason}): free some space, or export "
    "again."
)


@dataclass(frozen=True)
class Exported:
    """An export in the folder `out`, of the run or of its checkpoint of `step`, made at `made` (seconds since 1970).

    `checks` is empty if it was not tested. What failed its test has another name than was asked for: see FAILED.
    """

    wanted: Wanted
    out: Path
    files: tuple[ExportedFile, ...]
    checks: tuple[Check, ...] = ()
    step: int | None = None
    made: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether it was tested and passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def is_here(self) -> bool:
        """Whether its files are still where they were written, with the sizes they had."""
        try:
            return all(file.path.stat().st_size == file.bytes for file in self.files)
        except OSError:
            return False


_SAVED = TypeAdapter(Exported)


def save(exported: Exported, run: Run) -> None:
    """Writes it into the run's folder, in place of the one of this kind before. Raises ExportError."""
    file = default_folder(run, exported.wanted.to, exported.step).with_suffix(".json")
    try:
        file.parent.mkdir(exist_ok=True)
        # Not pydantic's own JSON, which makes null of an infinite difference.
        write_whole(file, json.dumps(_SAVED.dump_python(exported), indent=1, default=str) + "\n")
    except OSError as error:
        raise ExportError(NOT_NOTED, out=str(exported.out), reason=error.strerror or error) from None


def load_exports(run: Run, say: Callable[[str], None] = lambda sentence: None) -> list[Exported]:
    """A run's exports, the newest first, without those whose files are gone.

    One that cannot be read is left out, and `say` gets the reason.
    """
    found = []
    for file in (run.folder / "exports").glob("*.json"):
        try:
            found.append(_SAVED.validate_json(read_text(file)))
        except Unreadable as error:
            say(tr("The note of an export in {file} cannot be read: {reason}.", file=file.name, reason=error))
        except ValidationError:
            say(tr("The note of an export in {file} cannot be read: the file is damaged.", file=file.name))
    return sorted((one for one in found if one.is_here), key=lambda one: one.made, reverse=True)


def as_values(exported: Exported) -> dict:
    """An export for other programs; `check` is null if the export was not tested."""
    files = [{"path": str(file.path), "bytes": file.bytes, "sha256": file.sha256} for file in exported.files]
    rows = [
        {
            "file": check.file,
            "max_logit_difference": check.max_logit_difference,
            "mean_kl": check.mean_kl,
            "top1": check.top1,
            "greedy_equal": check.greedy_equal,
            "greedy_of": check.greedy_of,
            "loss": check.loss,
        }
        for check in exported.checks
    ]
    return {
        "to": exported.wanted.to,
        "out": str(exported.out),
        "files": files,
        "base": exported.wanted.onto,
        "check": {"rows": rows, "passed": exported.passed} if rows else None,
    }
