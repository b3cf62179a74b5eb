"""How the runs of some panes are best asked, as their folders record it: questions on their own, and which to try."""

from collections.abc import Sequence
from contextlib import suppress

from core.problems import RunError
from core.runs.adapter_ref import Pane
from core.runs.run_folder import Run
from core.runs.run_list import RunList


def runs_in(panes: Sequence[Pane]) -> tuple[str, ...]:
    """The ids of the runs in these panes, without repeats."""
    return tuple(dict.fromkeys(pane.run_id for pane in panes if not pane.is_base))


def are_single_turn(runs: RunList, panes: Sequence[Pane]) -> bool:
    """Whether all runs in these panes were trained on single turns, so that earlier turns would only confuse them."""
    found = _opened(runs, panes)
    return bool(found) and all(map(is_single_turn, found))


def questions_for(runs: RunList, panes: Sequence[Pane]) -> tuple[str, ...]:
    """A few questions of the first run's validation rows; none if it had no such rows, or they were not recorded."""
    receipts = (run.snapshot().receipt for run in _opened(runs, panes))
    receipt = next(receipts, None)
    return receipt.questions if receipt is not None else ()


def is_single_turn(run: Run) -> bool:
    """Whether a run was trained on single turns.

    Of a run from before this was recorded, its prompt template says it: rows in a model's own chat template may have
    had several turns.
    """
    receipt = run.snapshot().receipt
    if receipt is not None and receipt.is_single_turn is not None:
        return receipt.is_single_turn
    try:
        return run.config().data.prompt_template != "chat"
    except RunError:  # its settings cannot be read; loading it says so
        return False


def _opened(runs: RunList, panes: Sequence[Pane]) -> list[Run]:
    found = []
    for run_id in runs_in(panes):
        with suppress(RunError):  # it was deleted meanwhile; asking it says so
            found.append(runs.open(run_id))
    return found
