"""The command that pushes a run: the repository's address goes to standard output, all the rest to standard error."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from core.export.hub import Pushed, Repository, token_for_pushing
from core.export.record import Exported, as_values
from core.export.wanted import Kind
from core.runs.run_folder import find_run
from core.threads import Stopped
from ui.terminal.commands import CTRL_C, hub_token
from ui.terminal.export_command import Options, lines_of, print_failed
from ui.terminal.progress import reported_until_ctrl_c, stdout_for_results


def push_and_report(runs_dir: Path, run: str, what: Kind, to: Repository, options: Options, as_json: bool) -> int:
    found = find_run(runs_dir, run)
    to.check()  # first, so that nothing is exported in vain
    token = token_for_pushing(hub_token())
    with stdout_for_results() as results:
        try:
            with reported_until_ctrl_c() as (report, should_stop):
                exporter, wanted = options.exporter(found, report, should_stop), options.wanted(found, what)
                exported, pushed = replace(exporter, token=token).push(wanted, to, not options.no_check)
        except Stopped:
            print("Stopped; nothing was pushed.", file=sys.stderr)
            return CTRL_C
        print(*lines_of(exported), sep="\n", file=sys.stderr)
        if as_json:
            print(json.dumps(_values(to, exported, pushed)), file=results)
        elif pushed:
            print(pushed.url, file=results)
    if print_failed(exported):
        print(f"Nothing was pushed to {to.name}.", file=sys.stderr)
        return 1
    return 0


def _values(to: Repository, exported: Exported, pushed: Pushed | None) -> dict:
    """The result for other programs; `url` and `private` are null if nothing was pushed."""
    files = [{"path": file.path.name, "bytes": file.bytes, "sha256": file.sha256} for file in exported.files]
    return {
        "repo": to.name,
        "url": pushed and pushed.url,
        "private": pushed and pushed.is_private,
        "revision": to.revision or "main",
        "files": files,
        "check": as_values(exported)["check"],
    }
