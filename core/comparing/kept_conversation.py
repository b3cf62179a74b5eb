"""Reads a conversation back from the JSON that `core.comparing.conversation.as_json` wrote.

The browser keeps that text, so it is untrusted: anything but a well-formed conversation is ignored.
"""

from typing import Literal

from pydantic import BaseModel, Field

from core.answering.sampling import Answer, Sampling
from core.comparing.conversation import Conversation, Turn
from core.runs.adapter_ref import Pane

MOST_CHARACTERS = 900_000  # of the whole text
MOST_OF_AN_ANSWER = 200_000  # more than 8,192 tokens, the most that an answer can have
MOST_OF_A_KEY = 300


class _Part(BaseModel, frozen=True, extra="forbid"):
    pass


class _KeptAnswer(_Part):
    pane: str
    text: str = Field(max_length=MOST_OF_AN_ANSWER)
    tokens: int = Field(ge=0, le=MOST_OF_AN_ANSWER)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    first_token_s: float = Field(ge=0, allow_inf_nan=False)
    ended: Literal["itself", "limit", "stopped"]
    tokens_per_second: float | None  # follows from the others


class _KeptTurn(_Part):
    question: str
    system: str
    sampling: Sampling
    is_on_its_own: bool
    answers: list[_KeptAnswer]


class _KeptConversation(_Part):
    panes: list[str] = Field(min_length=1, max_length=3)
    turns: list[_KeptTurn] = Field(min_length=1)


def from_json(text: str, most: int = MOST_CHARACTERS) -> Conversation | None:
    """The conversation that `as_json` wrote as this text, all of whose answers have ended; None if it is not one, or
    the text has more than `most` characters."""
    if len(text) > most:
        return None
    try:
        kept = _KeptConversation.model_validate_json(text, strict=True)
    except ValueError:  # also raised for half of a surrogate pair, which cannot be encoded
        return None
    if not all(map(is_key, kept.panes)):
        return None
    if any([answer.pane for answer in turn.answers] != kept.panes for turn in kept.turns):
        return None
    return Conversation(tuple(map(Pane.from_key, kept.panes)), tuple(map(_turn, kept.turns)))


def is_key(text: str) -> bool:
    """Whether the text is written as a pane's key is; the run need not exist."""
    return 0 < len(text) <= MOST_OF_A_KEY and Pane.from_key(text).key == text


def _turn(kept: _KeptTurn) -> Turn:
    answers = (Answer(**answer.model_dump(exclude={"pane", "tokens_per_second"})) for answer in kept.answers)
    return Turn(kept.question, tuple(answers), kept.system, kept.sampling, kept.is_on_its_own)
