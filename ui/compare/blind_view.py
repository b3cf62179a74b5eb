"""The blind test as HTML: the pair of answers, how far the test is, the last vote, and who won."""

from collections.abc import Callable

from markupsafe import Markup

from core.runs.adapter_ref import Pane
from core.workbench.blind_test import Result
from core.workbench.one_blind_test import Shown
from ui.shared.formatting import count, pane_label, percent
from ui.shared.html import render_part

TEMPLATE = "compare/blind.html"


def pair_text(shown: Shown) -> Markup:
    """The prompt and both answers; while they are being written, only that they are."""
    is_writing = shown.stage == "writing"
    return render_part(
        TEMPLATE, "pair", prompt=shown.prompt, is_writing=is_writing,
        sides=[("Left", shown.left), ("Right", shown.right)],
        are_same=not is_writing and shown.left == shown.right,
    )  # fmt: skip


def state_text(shown: Shown) -> Markup:
    """How far the test is. The tally is left out: whoever sees it may end the test when it suits them."""
    if shown.stage == "writing":
        where = f"{count(shown.total, 'prompt')}; the next answers are being generated"
    else:
        where = f"{shown.number:,} of {shown.total:,}"
        if shown.ready:
            where += f", {shown.ready} more {'is' if shown.ready == 1 else 'are'} ready"
    held_back = "The tally is shown at the end, so that it cannot influence when you stop."
    return render_part(TEMPLATE, "state", words=f"{where}. {held_back}", said=shown.said)


def last_text(shown: Shown, label: Callable[[Pane], str] = pane_label) -> Markup:
    """Which model was on which side in the pair before, and what was chosen."""
    if shown.last is None:
        return Markup()
    left, right = (label(Pane.from_key(key)) for key in (shown.last.left, shown.last.right))
    chose = {"left": f"You chose {left}", "right": f"You chose {right}", "tie": "A tie", "bad": "Both bad"}
    words = f"Previous pair: left was {left}, right was {right}. {chose[shown.last.choice]}."
    return render_part(TEMPLATE, "last", words=words)


def result_text(result: Result, label: Callable[[Pane], str] = pane_label) -> Markup:
    """The tally of two panes: in words, then its figures."""
    tally = result.tally
    contender, other = label(result.contender), label(result.other)
    votes = (
        f"{tally.votes:,}: {tally.wins:,} for {contender}, {tally.losses:,} for {other}, "
        f"{count(tally.ties, 'tie')}, {tally.bad:,} both bad"
    )
    figures = [("Votes", votes)]
    if tally.decided:
        low, high = tally.interval
        figures.append(("Win rate", f"{percent(tally.win_rate)}, 95% interval {percent(low)} to {percent(high)}"))
        figures.append(("Sign test", f"p {_p(tally.p_value)}, two-sided"))
    return render_part(
        TEMPLATE, "result", contender=contender, other=other, words=tally.words, figures=figures, notes=_notes(result)
    )


def _notes(result: Result) -> list[str]:
    """What the figures leave out, and how far to trust them."""
    tally, notes = result.tally, []
    if tally.ties or tally.bad:
        notes.append("Ties and “both bad” decide nothing: the win rate, its interval and the test leave them out.")
    if tally.decided:
        notes.append("Adding votes after you have seen these figures biases them: decide in advance how many to cast.")
    if tally.repeated:
        left_out = "is" if tally.repeated == 1 else "are"
        notes.append(
            f"{count(tally.repeated, 'repeated vote')} {left_out} not counted: "
            "only the last vote on the same two answers counts."
        )
    if result.now and result.now < tally.votes:
        notes.append(f"{result.now:,} from this test, {tally.votes - result.now:,} from earlier ones.")
    if result.damaged:
        left_out = "is" if result.damaged == 1 else "are"
        notes.append(f"{count(result.damaged, 'line')} of votes.jsonl cannot be read and {left_out} left out.")
    return notes


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.3f}".removesuffix(".000")
