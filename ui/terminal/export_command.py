"""The command that exports a run: progress goes to standard error, the result to standard output."""

import json
import sys
import threading
from pathlib import Path

from core.export.export import Dtype, Exported, Kind, default_folder, export
from core.export.merged_weights import Base
from core.export.source import find_source
from core.runs.run_folder import find_run
from core.stopping import Stopped
from ui.shared.formatting import disk
from ui.terminal.commands import CTRL_C, hub_token
from ui.terminal.progress import ctrl_c_calls, progress_bar, stdout_for_results


def export_and_report(
    runs_dir: Path,
    run: str,
    to: Kind,
    dtype: Dtype,
    base: Base,
    checkpoint: int | None,
    out: Path | None,
    as_json: bool,
) -> int:
    found = find_run(runs_dir, run)
    with stdout_for_results() as results:
        pressed = threading.Event()
        try:
            with ctrl_c_calls(pressed.set), progress_bar() as show:

                def report(words: str, share: float | None) -> None:
                    show(share or 0.0, words)

                source = find_source(found.folder.parent, found.id, checkpoint, base == "original", hub_token(), report)
                exported = export(
                    source, to, (out or default_folder(source, to)).resolve(), dtype, base, report, pressed.is_set
                )
        except Stopped:
            print("Stopped; nothing was exported.", file=sys.stderr)
            return CTRL_C
        if as_json:
            print(json.dumps(values_of(exported)), file=results)
        else:
            print(*lines_of(exported), sep="\n", file=results)
    return 0


def values_of(exported: Exported) -> dict:
    """The result for other programs."""
    files = [{"path": str(file.path), "bytes": file.bytes, "sha256": file.sha256} for file in exported.files]
    return {"to": exported.to, "out": str(exported.out), "files": files, "base": exported.base}


def lines_of(exported: Exported) -> list[str]:
    """The result for people: the folder, then each file with its size."""
    width = max(len(file.path.name) for file in exported.files)
    return [
        f"Exported to {exported.out}",
        *(f"  {file.path.name:<{width}}  {disk(file.bytes):>8}" for file in exported.files),
    ]
