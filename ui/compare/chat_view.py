"""A conversation as HTML: each question, and below it the panes' answers side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from core.answering.sampling import Answer
from core.comparing.conversation import Conversation, Turn, answer_figures
from core.comparing.word_differences import Piece, differences
from core.runs.adapter_ref import Pane
from ui.shared.formatting import notice, pane_label
from ui.shared.html import render_part

TEMPLATE = "compare/chat.html"
TUNED_LOOKS = ("tuned", "second", "third")  # classes of compare.css; the base has its own


@dataclass(frozen=True)
class Column:
    """What a pane shows: its answer in pieces, or None and the words of `empty`; figures and a remark below it."""

    look: str
    label: str
    pieces: Sequence[Piece] | None = None
    empty: str = "no answer yet"
    figures: Sequence[str] = ()
    remark: str = ""


def pane_looks(panes: Sequence[Pane]) -> list[str]:
    """The CSS class of each pane: the base looks the same everywhere, and no two tuned ones look alike."""
    tuned = iter(TUNED_LOOKS)
    return ["base" if pane.is_base else next(tuned) for pane in panes]


def newest_text(
    conversation: Conversation, show_differences: bool = False, label: Callable[[Pane], str] = pane_label
) -> Markup:
    """The last turn; before there is one, the empty panes."""
    if not conversation.turns:
        looks = zip(pane_looks(conversation.panes), conversation.panes, strict=True)
        return _panes([Column(look, label(pane)) for look, pane in looks])
    return _turn(conversation, len(conversation.turns), show_differences, label)


def earlier_text(
    conversation: Conversation, show_differences: bool = False, label: Callable[[Pane], str] = pane_label
) -> Markup:
    """All turns but the last; empty when there are none."""
    turns = (_turn(conversation, number, show_differences, label) for number in range(1, len(conversation.turns)))
    return Markup().join(turns)


def proof_text(panes: Sequence[Pane], found: Sequence[float], label: Callable[[Pane], str] = pane_label) -> Markup:
    """How much each later pane differs from the first: by the largest logit difference, or a warning: not at all."""
    first, *others = panes
    notices = []
    for pane, difference in zip(others, found, strict=True):
        names = f"{label(first)} and {label(pane)}"
        if pane == first:
            notices.append(notice(f"{names} are the same model: choose another for one of them.", "warning"))
        elif difference == 0:
            why = ", so the adapter changes nothing" if first.is_base or pane.is_base else ""
            words = f"{names} are the same here: every logit after this prompt is equal{why}."
            notices.append(notice(words, "warning"))
        else:
            which = f", {names}" if len(others) > 1 else ""
            words = f"They differ{which}: the largest logit difference after this prompt is {difference:.2f}."
            notices.append(notice(words, "good"))
    return Markup().join(notices)


def _turn(conversation: Conversation, number: int, show_differences: bool, label: Callable[[Pane], str]) -> Markup:
    turn = conversation.turns[number - 1]
    columns = []
    for place, look in enumerate(pane_looks(conversation.panes)):
        answer, name = turn.answers[place], label(conversation.panes[place])
        pieces, remark = (Piece("same", answer.text),), ""
        if show_differences and place and turn.has_ended:
            pieces, remark = _marked(turn, place, label(conversation.panes[0]))
        if not (answer.text or answer.ended):
            pieces = None
        columns.append(Column(look, name, pieces, "…", _figures(answer), remark))
    return render_part(TEMPLATE, "turn", number=number, question=turn.question, panes=_panes(columns))


def _panes(columns: Sequence[Column]) -> Markup:
    return render_part(TEMPLATE, "panes", columns=columns)


def _figures(answer: Answer) -> list[str]:
    """How the answer ended, and its figures once there are any."""
    ended, *figures = answer_figures(answer).split(" · ")
    if not answer.ended:
        ended = "writing…" if answer.tokens else "reading the question…"
    return [ended, *figures] if answer.tokens or answer.ended else [ended]


def _marked(turn: Turn, place: int, first_name: str) -> tuple[Sequence[Piece], str]:
    """An answer in pieces, by how it differs from the first pane's, and a remark for below it."""
    first, text = turn.answers[0].text, turn.answers[place].text
    pieces = differences(first, text)
    if pieces is None:
        return (Piece("same", text),), "differences are not shown: the answers are too long to compare"
    if all(piece.kind == "same" for piece in pieces):
        spaces = "" if text == first else "; only spaces or line breaks differ"
        return (Piece("same", text),), f"word for word the same as {first_name}{spaces}"
    return pieces, ""
