"""What runs are called on the page: by their present name and their rows, and by the time they were started."""

from core.runs.adapter_ref import Pane
from core.runs.overview import Overview
from core.runs.run_list import RunList
from ui.shared.formatting import data_name, pane_label, run_label


class RunNames:
    """The labels of the runs of a list; of a run that is not listed, from its id."""

    def __init__(self, runs: RunList):
        self._runs = runs

    def run(self, run_id: str) -> str:
        return run_label(run_id, self._name(run_id))

    def pane(self, pane: Pane) -> str:
        return pane_label(pane, "" if pane.is_base else self._name(pane.run_id))

    def _name(self, run_id: str) -> str:
        return next((_name_with_rows(row) for row in self._runs.rows() if row.id == run_id), "")


def _name_with_rows(row: Overview) -> str:
    """A name that a person gave may not say which rows the run was trained on; of an adapter that was trained elsewhere
    they are not known."""
    rows = data_name(row.data)
    return f"{row.name} · {rows}" if row.is_renamed and row.step and rows not in row.name else row.name
