"""The command that pushes a run: the repository's address goes to standard output, all the rest to standard error."""

import json
import sys
from pathlib import Path

from core.export.export import Kind
from core.export.hub import Pushed, Repository, push_folder, token_for_pushing
from core.runs.run_folder import find_run
from core.stopping import Stopped
from core.workbench.export_run import Exported
from ui.terminal.commands import CTRL_C, hub_token
from ui.terminal.export_command import Options, lines_of, print_failed, values_of
from ui.terminal.progress import reported_until_ctrl_c, stdout_for_results


def push_and_report(runs_dir: Path, run: str, what: Kind, to: Repository, options: Options, as_json: bool) -> int:
    found = find_run(runs_dir, run)
    to.check()  # first, so that nothing is exported in vain
    token, pushed = token_for_pushing(hub_token()), None
    step = "" if options.checkpoint is None else f" at step {options.checkpoint:,}"
    with stdout_for_results() as results:
        try:
            with reported_until_ctrl_c() as (report, should_stop):
                exported = options.export(found, what, None, report, should_stop)
                if all(check.passed for check in exported.checks):
                    message = f"Push {found.name}{step} as {what}"
                    pushed = push_folder(exported.out, to, message, token, report, should_stop)
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
        "check": values_of(exported)["check"],
    }
