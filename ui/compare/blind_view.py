"""The blind test as HTML: the pair of answers, how far the test is, the last vote, and who won."""

from collections.abc import Callable

from markupsafe import Markup

from core.problems import tr, trn
from core.runs.adapter_ref import Pane
from core.workbench.blind_test import Result
from core.workbench.one_blind_test import Shown
from ui.shared.formatting import pane_label, percent
from ui.shared.html import render_part

TEMPLATE = "compare/blind.html"


def pair_text(shown: Shown) -> Markup:
    """The prompt and both answers; while they are being written, only that they are."""
    is_writing = shown.stage == "writing"
    return render_part(
        TEMPLATE, "pair", prompt=shown.prompt, is_writing=is_writing,
        sides=[(tr("Left"), shown.left), (tr("Right"), shown.right)],
        are_same=not is_writing and shown.left == shown.right,
    )  # fmt: skip


def state_text(shown: Shown) -> Markup:
    """How far the test is. The tally is left out: whoever sees it may end the test when it suits them."""
    if shown.stage == "writing":
        where = trn(
            "{count:,} prompt; the next answers are being generated.",
            "{count:,} prompts; the next answers are being generated.",
            shown.total,
        )
    elif shown.ready:
        where = trn(
            "{number:,} of {total:,}, {count} more is ready.",
            "{number:,} of {total:,}, {count} more are ready.",
            shown.ready,
            number=shown.number,
            total=shown.total,
        )
    else:
        where = tr("{number:,} of {total:,}.", number=shown.number, total=shown.total)
    held_back = tr("The tally is shown at the end, so that it cannot influence when you stop.")
    return render_part(TEMPLATE, "state", words=f"{where} {held_back}", said=shown.said)


def last_text(shown: Shown, label: Callable[[Pane], str] = pane_label) -> Markup:
    """Which model was on which side in the pair before, and what was chosen."""
    if shown.last is None:
        return Markup()
    left, right = (label(Pane.from_key(key)) for key in (shown.last.left, shown.last.right))
    sides = tr("Previous pair: left was {left}, right was {right}.", left=left, right=right)
    if shown.last.choice in ("left", "right"):
        chose = tr("You chose {model}.", model=left if shown.last.choice == "left" else right)
    else:
        chose = tr("A tie.") if shown.last.choice == "tie" else tr("Both bad.")
    return render_part(TEMPLATE, "last", words=f"{sides} {chose}")


def result_text(result: Result, label: Callable[[Pane], str] = pane_label) -> Markup:
    """The tally of two panes: in words, then its figures."""
    tally = result.tally
    contender, other = label(result.contender), label(result.other)
    votes = trn(
        "{votes:,}: {wins:,} for {contender}, {losses:,} for {other}, {count:,} tie, {bad:,} both bad",
        "{votes:,}: {wins:,} for {contender}, {losses:,} for {other}, {count:,} ties, {bad:,} both bad",
        tally.ties,
        votes=tally.votes,
        wins=tally.wins,
        contender=contender,
        losses=tally.losses,
        other=other,
        bad=tally.bad,
    )
    figures = [(tr("Votes"), votes)]
    if tally.decided:
        low, high = map(percent, tally.interval)
        rate = tr("{rate}, 95% interval {low} to {high}", rate=percent(tally.win_rate), low=low, high=high)
        figures += [(tr("Win rate"), rate), (tr("Sign test"), _p(tally.p_value))]
    return render_part(
        TEMPLATE, "result", contender=contender, other=other, words=tally.words, figures=figures, notes=_notes(result)
    )


def _notes(result: Result) -> list[str]:
    """What the figures leave out, and how far to trust them."""
    tally, notes = result.tally, []
    if tally.ties or tally.bad:
        notes.append(tr("Ties and “both bad” decide nothing: the win rate, its interval and the test leave them out."))
    if tally.decided:
        notes.append(
            tr("Adding votes after you have seen these figures biases them: decide in advance how many to cast.")
        )
    if tally.repeated:
        notes.append(
            trn(
                "{count:,} repeated vote is not counted: only the last vote on the same two answers counts.",
                "{count:,} repeated votes are not counted: only the last vote on the same two answers counts.",
                tally.repeated,
            )
        )
    if result.now and result.now < tally.votes:
        earlier = tally.votes - result.now
        notes.append(tr("{now:,} from this test, {earlier:,} from earlier ones.", now=result.now, earlier=earlier))
    if result.damaged:
        notes.append(
            trn(
                "{count:,} line of votes.jsonl cannot be read and is left out.",
                "{count:,} lines of votes.jsonl cannot be read and are left out.",
                result.damaged,
            )
        )
    return notes


def _p(value: float) -> str:
    if value < 0.001:
        return tr("p under 0.001, two-sided")
    return tr("p {value}, two-sided", value=f"{value:.3f}".removesuffix(".000"))
