"""A conversation as HTML: each question, and below it the panes' answers side by side. Text only; knows nothing of
gradio or torch."""

from collections.abc import Sequence
from html import escape

from core.answering.sampling import Answer
from core.comparing.conversation import Conversation, Turn, answer_figures
from core.comparing.word_differences import differences
from core.runs.adapter_ref import Pane
from ui.shared.formatting import notice, pane_label

TUNED_LOOKS = ("tuned", "second", "third")  # the rules of style.css; the base has its own
GONE_SHOWN = 60  # characters; of a longer stretch that is gone only its beginning is shown


def pane_looks(panes: Sequence[Pane]) -> list[str]:
    """The CSS class of each pane: the base looks the same everywhere, and no two tuned ones look alike."""
    tuned = iter(TUNED_LOOKS)
    return ["base" if pane.is_base else next(tuned) for pane in panes]


def newest_text(conversation: Conversation, show_differences: bool = False) -> str:
    """The last turn; before there is one, the panes as they stand empty."""
    if not conversation.turns:
        return _panes(conversation.panes, [""] * len(conversation.panes), [""] * len(conversation.panes))
    return _turn(conversation, len(conversation.turns), show_differences)


def earlier_text(conversation: Conversation, show_differences: bool = False) -> str:
    """All turns but the last; empty when there are none."""
    return "".join(_turn(conversation, number, show_differences) for number in range(1, len(conversation.turns)))


def proof_text(panes: Sequence[Pane], found: Sequence[float]) -> str:
    """How far each later pane is from the first: the largest logit difference, or a warning that there is none."""
    first, *others = panes
    told = []
    for pane, difference in zip(others, found, strict=True):
        names = f"{pane_label(first)} and {pane_label(pane)}"
        if pane == first:
            told.append(notice(f"{names} are one and the same: choose another for one of them.", "warning"))
        elif difference == 0:
            why = ", so the adapter changes nothing" if first.is_base or pane.is_base else ""
            told.append(notice(f"{names} are the same here: every logit after this prompt is equal{why}.", "warning"))
        else:
            which = f", {names}" if len(others) > 1 else ""
            told.append(
                notice(
                    f"They differ{which}: the largest logit difference after this prompt is {difference:.2f}.", "good"
                )
            )
    return "".join(told)


def _turn(conversation: Conversation, number: int, show_differences: bool) -> str:
    turn = conversation.turns[number - 1]
    bodies, feet = [], []
    for place, answer in enumerate(turn.answers):
        body, remark = escape(answer.text), ""
        if show_differences and place and turn.has_ended:
            body, remark = _marked(turn, place, pane_label(conversation.panes[0]))
        bodies.append(f'<div class="answer">{body}</div>' if answer.text or answer.ended else _waiting())
        feet.append(_figures(answer) + remark)
    question = f'<p class="question"><span class="unseen">Question {number}: </span>{escape(turn.question)}</p>'
    return f'<section class="turn" data-turn="{number}">{question}{_panes(conversation.panes, bodies, feet)}</section>'


def _panes(panes: Sequence[Pane], bodies: Sequence[str], feet: Sequence[str]) -> str:
    drawn = ""
    for pane, look, body, foot in zip(panes, pane_looks(panes), bodies, feet, strict=True):
        label = escape(pane_label(pane))
        body = body or '<p class="empty">no answer yet</p>'
        drawn += (
            f'<section class="pane {look}" aria-label="{label}"><h3>{label}</h3>{body}<footer>{foot}</footer></section>'
        )
    return f'<div class="panes of-{len(panes)}">{drawn}</div>'


def _waiting() -> str:
    return '<p class="empty">…</p>'


def _figures(answer: Answer) -> str:
    """Each figure in one piece, however narrow the pane."""
    ended, *figures = answer_figures(answer).split(" · ")
    if not answer.ended:
        ended = "writing…" if answer.tokens else "reading the question…"
    return " · ".join(
        f"<span>{figure}</span>" for figure in (ended, *(figures if answer.tokens or answer.ended else ()))
    )


def _marked(turn: Turn, place: int, first_name: str) -> tuple[str, str]:
    """An answer with what differs from the first pane's marked, and a remark for below it. Escaped."""
    first, text = turn.answers[0].text, turn.answers[place].text
    name = escape(first_name)
    pieces = differences(first, text)
    if pieces is None:
        return escape(text), "<br>differences are not shown: the answers are too long to compare"
    if all(piece.kind == "same" for piece in pieces):
        return escape(text), f"<br>word for word the same as {name}"
    return "".join(_piece(piece.kind, piece.text) for piece in pieces), ""


def _piece(kind: str, text: str) -> str:
    if kind == "gone":
        return f"<del>{escape(text if len(text) <= GONE_SHOWN else f'{text[:GONE_SHOWN]}…')}</del>"
    return f"<mark>{escape(text)}</mark>" if kind == "new" else escape(text)
