"""What runs are called on the page: by the name that a person gave them, at present."""

from core.runs.adapter_ref import Pane
from core.runs.run_list import RunList
from ui.shared.formatting import pane_label, run_label


class RunNames:
    """The labels of the runs of a list; of a run that is not listed, from its id."""

    def __init__(self, runs: RunList):
        self._runs = runs

    def run(self, run_id: str) -> str:
        return run_label(run_id, self._given(run_id))

    def pane(self, pane: Pane) -> str:
        return pane_label(pane, "" if pane.is_base else self._given(pane.run_id))

    def _given(self, run_id: str) -> str:
        return next((row.name for row in self._runs.rows() if row.id == run_id and row.is_renamed), "")
