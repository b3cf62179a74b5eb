"""A conversation of several turns with two or three panes: what was asked, what each answered, and how it is kept.

Everything is immutable, so a page may hold one and draw it at any time. Knows nothing of models or gradio.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from core.answering.sampling import Answer, Sampling
from core.runs.adapter_ref import BASE, Pane

SEEDS = 2**32
ENDS = {"": "not finished", "itself": "ended by itself", "limit": "cut off at the limit", "stopped": "stopped"}


@dataclass(frozen=True)
class Turn:
    """One question and the answers of all panes, in the panes' order, with what they were asked with."""

    question: str
    answers: tuple[Answer, ...]
    system: str = ""
    sampling: Sampling = Sampling()

    @property
    def has_ended(self) -> bool:
        return all(answer.ended for answer in self.answers)

    @property
    def is_whole(self) -> bool:
        """Whether every answer came to its end: by itself or at the limit."""
        return all(answer.ended in ("itself", "limit") for answer in self.answers)


@dataclass(frozen=True)
class Conversation:
    """The questions are shared; each pane has its own answers, and sees only those."""

    panes: tuple[Pane, ...] = (BASE,)
    turns: tuple[Turn, ...] = ()

    def asked(self, question: str, system: str, sampling: Sampling) -> "Conversation":
        """With a turn whose answers are still to come."""
        # Half of a surrogate pair, which a browser may send, can neither be shown nor saved.
        question, system = (text.encode("utf-8", "replace").decode() for text in (question, system))
        return replace(self, turns=(*self.turns, Turn(question, (Answer(),) * len(self.panes), system, sampling)))

    def answered(self, answers: Sequence[Answer]) -> "Conversation":
        """With these as the answers of the last turn, as far as they have come."""
        return replace(self, turns=(*self.turns[:-1], replace(self.turns[-1], answers=tuple(answers))))

    def broken_off(self) -> "Conversation":
        """What stays when the last turn failed: its answers as far as they came; no such turn when none had begun."""
        if not any(answer.text for answer in self.turns[-1].answers):
            return self.without_last()
        return self.answered([replace(answer, ended=answer.ended or "stopped") for answer in self.turns[-1].answers])

    def without_last(self) -> "Conversation":
        return replace(self, turns=self.turns[:-1])

    def messages(self, pane: int) -> list[dict]:
        """What the pane of that number is asked last: its own answers so far, and the last question at the end.

        The system prompt is that of the last turn.
        """
        *before, last = self.turns
        found = [{"role": "system", "content": last.system}] if last.system.strip() else []
        for turn in before:
            found.append({"role": "user", "content": turn.question})
            found.append({"role": "assistant", "content": turn.answers[pane].text})
        return [*found, {"role": "user", "content": last.question}]


def asked_again(turn: Turn, system: str, sampling: Sampling) -> Sampling | None:
    """How to ask the turn's question again: as asked for, with the next seed where that would draw the same luck.

    None when every answer would be the same to the letter.
    """
    if sampling.temperature == 0 == turn.sampling.temperature:
        is_same = (system.strip(), sampling.max_new_tokens) == (turn.system.strip(), turn.sampling.max_new_tokens)
        return None if is_same and turn.is_whole else sampling
    if sampling.temperature and turn.sampling.temperature and sampling.seed == turn.sampling.seed:
        return sampling.model_copy(update={"seed": (sampling.seed + 1) % SEEDS})
    return sampling


# Kept


def as_json(conversation: Conversation) -> str:
    """All there is to know of it; times are in seconds."""
    turns = [
        {
            "question": turn.question,
            "system": turn.system,
            "sampling": turn.sampling.model_dump(),
            "answers": [
                {"pane": pane.key, **asdict(answer), "tokens_per_second": tokens_a_second(answer)}
                for pane, answer in zip(conversation.panes, turn.answers, strict=True)
            ],
        }
        for turn in conversation.turns
    ]
    told = {"panes": [pane.key for pane in conversation.panes], "turns": turns}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def as_markdown(conversation: Conversation, names: Sequence[str]) -> str:
    """The same to read; `names` are the panes'. What was said stands in code blocks, so that it is no markup."""
    titles = [_plain(name) for name in names]
    parts = [f"# Conversation: {', '.join(titles)}"]
    system = None
    for number, turn in enumerate(conversation.turns, 1):
        parts.append(f"## {number}. Question")
        if turn.system != system and (turn.system.strip() or system):
            parts += ["System prompt:", _fenced(turn.system)]
        system = turn.system
        parts += [_fenced(turn.question), f"Asked with {sampling_words(turn.sampling)}."]
        for title, answer in zip(titles, turn.answers, strict=True):
            parts += [f"### {title}", _fenced(answer.text), f"{answer_figures(answer)}."]
    return "\n\n".join(parts) + "\n"


def tokens_a_second(answer: Answer) -> float | None:
    """Of the whole answer; None before there is a token."""
    return round(answer.tokens / answer.seconds, 2) if answer.tokens and answer.seconds else None


def answer_figures(answer: Answer) -> str:
    """ended by itself · 8 tokens · 41 tokens/s · first after 0.12 s"""
    speed = tokens_a_second(answer)
    figures = [ENDS[answer.ended], f"{answer.tokens:,} {'token' if answer.tokens == 1 else 'tokens'}"]
    if speed is not None:
        figures.append(f"{speed:.{0 if speed >= 10 else 1}f} tokens/s")
    if answer.first_token_s:
        figures.append(f"first after {answer.first_token_s:.2f} s")
    return " · ".join(figures)


def sampling_words(sampling: Sampling) -> str:
    """temperature 0.7, top-p 0.9, seed 3407, at most 128 tokens"""
    draws = f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed {sampling.seed}"
    return f"{draws if sampling.temperature else 'temperature 0 (exact)'}, at most {sampling.max_new_tokens:,} tokens"


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any in the text, so that nothing in it can end the block."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _plain(name: str) -> str:
    """A name within a heading: one line, no markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|&~$])", r"\\\1", " ".join(name.split()))
