"""A conversation as HTML: each question, and below it the panes' answers side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from core.answering.sampling import Answer
from core.answering.thinking import split_thinking, spoken
from core.comparing.answer_faults import fault_of
from core.comparing.conversation import Conversation, Turn, answer_figures
from core.comparing.word_differences import Piece, differences
from core.problems import mark, tr
from core.runs.adapter_ref import Pane
from ui.shared.formatting import notice, pane_label
from ui.shared.html import render_part
from ui.shared.markdown import markdown

TEMPLATE = "compare/chat.html"
TUNED_LOOKS = ("tuned", "second", "third")  # classes of compare.css; the base has its own


@dataclass(frozen=True)
class Column:
    """What a pane shows: its answer, as Markdown or as it was written, or in pieces by how it differs; without one, the
    words of `empty`, which are translated where they are shown. Above it is what the model thought aloud, folded; below
    it are remarks and figures, and a button if there is something to copy."""

    look: str
    label: str
    answer: str | Markup | None = None
    is_markdown: bool = False
    pieces: Sequence[Piece] = ()
    empty: str = mark("no answer yet")
    figures: Sequence[str] = ()
    remarks: Sequence[str] = ()
    to_copy: str = ""
    thinking: str = ""


def pane_looks(panes: Sequence[Pane]) -> list[str]:
    """The CSS class of each pane: the base looks the same everywhere, and no two tuned ones look alike."""
    tuned = iter(TUNED_LOOKS)
    return ["base" if pane.is_base else next(tuned) for pane in panes]


def newest_text(
    conversation: Conversation, show_differences: bool = False, label: Callable[[Pane], str] = pane_label
) -> Markup:
    """The last turn; before there is one, the empty panes."""
    if not conversation.turns:
        return empty_text(conversation.panes, label)
    return _turn(conversation, len(conversation.turns), show_differences, label)


def empty_text(
    panes: Sequence[Pane], label: Callable[[Pane], str] = pane_label, questions: Sequence[str] = ()
) -> Markup:
    """The panes before the first question, and below them questions to try."""
    columns = [Column(look, label(pane)) for look, pane in zip(pane_looks(panes), panes, strict=True)]
    return _panes(columns) + render_part(TEMPLATE, "questions", texts=questions)


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
        if pane == first:
            words = mark("{first} and {other} are the same model: choose another for one of them.")
        elif difference == 0 and (first.is_base or pane.is_base):
            words = mark(
                "{first} and {other} are the same here: every logit after this prompt is equal, so the adapter changes "
                "nothing."
            )
        elif difference == 0:
            words = mark("{first} and {other} are the same here: every logit after this prompt is equal.")
        elif len(others) > 1:
            words = mark(
                "They differ, {first} and {other}: the largest logit difference after this prompt is {difference:.2f}."
            )
        else:
            words = mark("They differ: the largest logit difference after this prompt is {difference:.2f}.")
        told = tr(words, first=label(first), other=label(pane), difference=difference)
        notices.append(notice(told, "good" if pane != first and difference else "warning"))
    return Markup().join(notices)


def _turn(conversation: Conversation, number: int, show_differences: bool, label: Callable[[Pane], str]) -> Markup:
    turn = conversation.turns[number - 1]
    columns = []
    for place, look in enumerate(pane_looks(conversation.panes)):
        name, first = label(conversation.panes[place]), label(conversation.panes[0])
        is_compared = show_differences and place > 0 and turn.has_ended
        columns.append(_column(look, name, turn, place, first if is_compared else ""))
    return render_part(TEMPLATE, "turn", number=number, question=turn.question, panes=_panes(columns))


def _column(look: str, name: str, turn: Turn, place: int, compared_with: str) -> Column:
    """A pane of a turn; with the name of the first one if it is `compared_with` that."""
    answer = turn.answers[place]
    if not (answer.text or answer.ended):
        return Column(look, name, empty="…", figures=_figures(answer))
    pieces, about = _compared(turn, place, compared_with) if compared_with else ((), "")
    thinking, text = split_thinking(answer.text)
    was_stopped_at_once = answer.ended == "stopped" and not answer.text
    fault = fault_of(text) if answer.ended and not was_stopped_at_once else ""
    # As Markdown only once it is whole: to read it anew for each of its tokens would take time from the model.
    return Column(
        look,
        name,
        answer=markdown(text) if answer.ended else text,
        is_markdown=bool(answer.ended),
        pieces=pieces,
        figures=_figures(answer),
        remarks=[remark for remark in (fault, about) if remark],
        to_copy=text if answer.ended and text.strip() else "",
        thinking=thinking,
    )


def _panes(columns: Sequence[Column]) -> Markup:
    return render_part(TEMPLATE, "panes", columns=columns)


def _figures(answer: Answer) -> list[str]:
    """How the answer ended, and its figures once there are any."""
    ended, *figures = answer_figures(answer).split(" · ")
    if not answer.ended:
        ended = tr("writing…") if answer.tokens else tr("reading the question…")
    return [ended, *figures] if answer.tokens or answer.ended else [ended]


def _compared(turn: Turn, place: int, first_name: str) -> tuple[Sequence[Piece], str]:
    """An answer in pieces, by how it differs from the first pane's, and what they mean; without pieces, why."""
    first, text = spoken(turn.answers[0].text), spoken(turn.answers[place].text)
    pieces = differences(first, text)
    if pieces is None:
        return (), tr("The differences are not shown: the answers are too long to compare.")
    if all(piece.kind == "same" for piece in pieces):
        if text == first:
            return (), tr("Word for word the same as {first}.", first=first_name)
        return (), tr("Word for word the same as {first}; only spaces or line breaks differ.", first=first_name)
    return pieces, tr("Struck through: only {first} wrote it. Underlined: only written here.", first=first_name)
