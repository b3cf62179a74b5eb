"""What the chat says where a question cannot be asked, or is asked otherwise than the one before."""

from core.problems import mark, tr
from core.workbench.desk import ANSWERING, LOADING, TRAINING
from core.workbench.workbench import Workbench

SAME_AGAIN = mark(
    "The answers would be exactly the same again, because exact settings are deterministic. "
    "Choose balanced or creative under Settings, or edit the question."
)
OTHER_PANES = mark(
    "The panes have changed: the next question starts a new conversation with them, and Retry starts it with the last "
    "question. Until then the old one stays here."
)


def why_not(workbench: Workbench) -> str:
    """Why nothing can be asked, or compared; empty when all can."""
    state, busy = workbench.model_state, workbench.busy_with
    if busy == TRAINING:
        return tr("A run is training: ask again when it has ended, or stop it first.")
    if busy == LOADING:
        return tr("The model is being loaded.")
    if busy and busy != ANSWERING:
        return tr("Asking must wait: {doing}.", doing=tr(busy))
    if state.report is None:
        return tr("There is no model to ask: choose a run above, which loads it, or train one first.")
    if not state.adapter:
        return tr("Only the base is loaded. Choose a run above to compare it with.")
    return ""
