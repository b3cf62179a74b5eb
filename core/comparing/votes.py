"""Votes of a blind test: a line each in a file of the run, and what you can conclude from how many there are.

scipy is imported only where it is used, so that the page does not wait for it.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError, model_validator

from core.answering.sampling import Sampling
from core.disk.json_lines import append_lines
from core.problems import mark, tr, trn

VOTES_FILE = "votes.jsonl"  # in a run's folder
Choice = Literal["left", "right", "tie", "bad"]
CHOICES: tuple[Choice, ...] = ("left", "right", "tie", "bad")

FEWEST_DECIDED = 10  # with fewer decided votes nothing is claimed, whatever they are
SETTLED_BELOW, PROBABLE_BELOW = 0.05, 0.2  # p-values
FURTHER_VOTES_AT_MOST = 1000  # nobody gives more
POWER = 0.8  # the chance of a clear result that tests are usually planned for


class Vote(BaseModel, frozen=True):
    """What a person saw and chose.

    `left`, `right` and `contender` are keys of panes. The contender is the one of the two whose wins are counted.
    `time` is in seconds since 1970. Votes of earlier versions have no `sampling`.
    """

    time: float = Field(default_factory=time.time, ge=0, le=1e11)
    prompt: str
    left: str
    right: str
    left_answer: str
    right_answer: str
    choice: Choice
    contender: str
    sampling: Sampling | None = None

    @model_validator(mode="after")
    def _contender_took_part(self) -> "Vote":
        if self.left == self.right or self.contender not in (self.left, self.right):
            raise ValueError("the contender is one of two different panes")
        return self

    @property
    def other(self) -> str:
        """The pane that the contender was compared with."""
        return self.right if self.contender == self.left else self.left

    @property
    def winner(self) -> str:
        """The key of the pane that was chosen; empty for a tie and when both were bad."""
        return {"left": self.left, "right": self.right}.get(self.choice, "")

    @property
    def what_was_seen(self) -> tuple[str, str, str]:
        """The prompt, the contender's answer and the other's. A second vote on the same adds nothing."""
        answers = {self.left: self.left_answer, self.right: self.right_answer}
        return self.prompt, answers[self.contender], answers[self.other]


class Votes(NamedTuple):
    """`damaged` counts the lines that are not votes, such as one cut off by a power failure."""

    votes: tuple[Vote, ...]
    damaged: int


def append_vote(folder: Path, vote: Vote) -> None:
    """Adds a line to the votes in a run's folder; once this returns it is on the disk.

    Raises OSError; the file is then as it was before.
    """
    append_lines(folder / VOTES_FILE, [vote.model_dump_json().encode()], sync=True)


def read_votes(folder: Path) -> Votes:
    """The votes in a run's folder, in order; none when there is no such file. Raises OSError."""
    file = folder / VOTES_FILE
    if not file.is_file():  # opening a pipe would wait forever
        return Votes((), 0)
    # Not splitlines, which would also split a line at characters such as U+2028 in an answer.
    lines = [line for line in file.read_bytes().split(b"\n") if line.strip()]
    votes = tuple(vote for line in lines if (vote := _vote(line)) is not None)
    return Votes(votes, len(lines) - len(votes))


def _vote(line: bytes) -> Vote | None:
    try:
        return Vote.model_validate_json(line)
    except ValidationError:
        return None


@dataclass(frozen=True)
class Tally:
    """Votes between a contender and another pane.

    Ties and "both bad" decide nothing, so they are left out of the rate, the interval and the test. `repeated` votes
    are not counted either: somebody voted on the same two answers again later.
    """

    wins: int = 0
    losses: int = 0
    ties: int = 0
    bad: int = 0
    repeated: int = 0

    @property
    def votes(self) -> int:
        return self.decided + self.ties + self.bad

    @property
    def decided(self) -> int:
        return self.wins + self.losses

    @property
    def win_rate(self) -> float | None:
        """Wins per decided vote, 0 to 1; None without decided votes."""
        return self.wins / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95% interval of the win rate, 0 to 1; None without decided votes."""
        if not self.decided:
            return None
        from scipy.stats import binomtest

        found = binomtest(self.wins, self.decided).proportion_ci(confidence_level=0.95, method="wilson")
        return float(found.low), float(found.high)

    @property
    def p_value(self) -> float | None:
        """Of the two-sided sign test: how often chance alone would split the decided votes at least as unevenly."""
        if not self.decided:
            return None
        from scipy.stats import binomtest

        return float(binomtest(self.wins, self.decided).pvalue)

    @property
    def more(self) -> int | None:
        """How many further decided votes, up to 1,000, would probably settle it.

        If they go to the leading side as often as so far, p falls below 0.05 in four cases out of five (the exact power
        of the sign test) and there are at least 10 votes. 0 when it is settled; None when 1,000 would not be enough.
        """
        if not self.decided:
            return None
        import numpy
        from scipy.stats import binom

        leading = max(self.wins, self.losses)
        more = numpy.arange(FURTHER_VOTES_AT_MOST + 1)
        needed = (
            binom.ppf(1 - SETTLED_BELOW / 2, self.decided + more, 0.5) + 1
        )  # wins in total, among the votes so far and the further ones
        chance = binom.sf(needed - leading - 1, more, leading / self.decided)
        enough = numpy.flatnonzero((chance >= POWER) & (self.decided + more >= FEWEST_DECIDED))
        return int(enough[0]) if len(enough) else None

    @property
    def words(self) -> str:
        """What these votes say about the contender, and no more:

        fewer than 10 decided votes     nothing, not even how many more are needed at this rate
        p below 0.05                    better, or worse
        p below 0.2                     probably better, or worse, even if 1,000 more votes would not settle it
        otherwise                       no clear difference, or no visible one if 1,000 more votes would not show it

        While it is open, it also says how many further votes would probably settle it (`more`).
        """
        if not self.votes:
            return tr("No votes yet.")
        if not self.decided:
            return trn(
                "The only vote chose no side, so there is no result yet.",
                "None of the {count:,} votes chose a side, so there is no result yet.",
                self.votes,
            )
        score = {"wins": self.wins, "decided": self.decided}
        if self.decided < FEWEST_DECIDED:
            return trn(
                "{wins:,} of {decided:,}: too few votes to tell; at least {count} more that chooses a side is needed.",
                "{wins:,} of {decided:,}: too few votes to tell; at least {count} more that choose a side are needed.",
                FEWEST_DECIDED - self.decided,
                **score,
            )
        is_better = self.wins > self.losses
        if self.p_value < SETTLED_BELOW:
            settled = mark("{wins:,} of {decided:,}: better.") if is_better else mark("{wins:,} of {decided:,}: worse.")
            return tr(settled, **score)
        more = self.more
        if self.p_value < PROBABLE_BELOW:
            return _probably_better(score, more) if is_better else _probably_worse(score, more)
        if more:
            return trn(
                "{wins:,} of {decided:,}: no clear difference; if there is one, about {count:,} more vote that chooses "
                "a side would probably show it.",
                "{wins:,} of {decided:,}: no clear difference; if there is one, about {count:,} more votes that choose "
                "a side would probably show it.",
                more,
                **score,
            )
        return tr("{wins:,} of {decided:,}: no visible difference.", **score)


def _probably_better(score: dict[str, int], more: int | None) -> str:
    if more:
        return trn(
            "{wins:,} of {decided:,}: probably better; about {count:,} more vote that chooses a side would probably "
            "settle it.",
            "{wins:,} of {decided:,}: probably better; about {count:,} more votes that choose a side would probably "
            "settle it.",
            more,
            **score,
        )
    return tr(
        "{wins:,} of {decided:,}: probably better; settling it would take more than {most:,} further votes.",
        most=FURTHER_VOTES_AT_MOST,
        **score,
    )


def _probably_worse(score: dict[str, int], more: int | None) -> str:
    if more:
        return trn(
            "{wins:,} of {decided:,}: probably worse; about {count:,} more vote that chooses a side would probably "
            "settle it.",
            "{wins:,} of {decided:,}: probably worse; about {count:,} more votes that choose a side would probably "
            "settle it.",
            more,
            **score,
        )
    return tr(
        "{wins:,} of {decided:,}: probably worse; settling it would take more than {most:,} further votes.",
        most=FURTHER_VOTES_AT_MOST,
        **score,
    )


def tally(votes: Iterable[Vote], contender: str, other: str) -> Tally:
    """Counts the votes between this contender and this other pane (both are keys), and ignores other pairs.

    Exact settings give the same answers each time, so of several votes on the same two answers only the last counts.
    """
    given = [vote for vote in votes if (vote.contender, vote.other) == (contender, other)]
    counted = {vote.what_was_seen: vote for vote in given}.values()
    wins = sum(vote.winner == contender for vote in counted)
    losses = sum(vote.winner == other for vote in counted)
    ties = sum(vote.choice == "tie" for vote in counted)
    return Tally(wins, losses, ties, len(counted) - wins - losses - ties, len(given) - len(counted))
