"""A conversation of several turns with two or three panes: the questions, each pane's answers, and its export.

Everything is immutable, so a page can keep one and draw it at any time.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from core.answering.sampling import Answer, Sampling
from core.answering.thinking import spoken
from core.problems import mark, tr, trn
from core.runs.adapter_ref import BASE, Pane

SEEDS = 2**32  # a seed is below this
ENDS = {
    "": mark("not finished"),
    "itself": mark("ended by itself"),
    "limit": mark("cut off at the limit"),
    "stopped": mark("stopped"),
}


@dataclass(frozen=True)
class Turn:
    """One question and the answers of all panes, in the panes' order, with the system prompt and sampling used.

    `is_on_its_own`: the models saw none of the turns before.
    """

    question: str
    answers: tuple[Answer, ...]
    system: str = ""
    sampling: Sampling = Sampling()
    is_on_its_own: bool = False

    @property
    def has_ended(self) -> bool:
        return all(answer.ended for answer in self.answers)

    @property
    def is_whole(self) -> bool:
        """Whether every answer is complete: it ended by itself or at the limit."""
        return all(answer.ended in ("itself", "limit") for answer in self.answers)


@dataclass(frozen=True)
class Conversation:
    """The panes share the questions; each has its own answers, and sees only those."""

    panes: tuple[Pane, ...] = (BASE,)
    turns: tuple[Turn, ...] = ()

    def asked(self, question: str, system: str, sampling: Sampling, is_on_its_own: bool = False) -> "Conversation":
        """This conversation plus a turn whose answers are still to come."""
        # A browser may send half of a surrogate pair, which can be neither shown nor saved.
        question, system = (text.encode("utf-8", "replace").decode() for text in (question, system))
        turn = Turn(question, tuple(Answer() for _ in self.panes), system, sampling, is_on_its_own)
        return replace(self, turns=(*self.turns, turn))

    def answered(self, answers: Sequence[Answer]) -> "Conversation":
        """This conversation with these answers, so far, in its last turn."""
        return replace(self, turns=(*self.turns[:-1], replace(self.turns[-1], answers=tuple(answers))))

    def broken_off(self) -> "Conversation":
        """After the last turn failed: the conversation with its answers so far, or without that turn if it has none."""
        if not any(answer.text for answer in self.turns[-1].answers):
            return self.without_last()
        return self.answered([replace(answer, ended=answer.ended or "stopped") for answer in self.turns[-1].answers])

    def without_last(self) -> "Conversation":
        return replace(self, turns=self.turns[:-1])

    def messages(self, pane: int) -> list[dict]:
        """The messages for the pane of that number: its own answers so far, and the last question at the end.

        The answers are without thinking, as the chat templates of models that think leave it out of earlier turns.
        The system prompt is the one of the last turn. Of a question on its own, there is nothing else.
        """
        *before, last = self.turns
        before = [] if last.is_on_its_own else before
        found = [{"role": "system", "content": last.system}] if last.system.strip() else []
        for turn in before:
            found.append({"role": "user", "content": turn.question})
            found.append({"role": "assistant", "content": spoken(turn.answers[pane].text)})
        return [*found, {"role": "user", "content": last.question}]


def asked_again(turn: Turn, system: str, sampling: Sampling, sees_as_much: bool = True) -> Sampling | None:
    """How to ask the turn's question again: with `sampling`, and with the next seed if its seed was used before.

    None when every answer would be exactly the same. `sees_as_much`: the models see the same turns before it.
    """
    if sampling.temperature == 0 == turn.sampling.temperature:
        is_same = (system.strip(), sampling.max_new_tokens) == (turn.system.strip(), turn.sampling.max_new_tokens)
        return None if is_same and sees_as_much and turn.is_whole else sampling
    if sampling.temperature and turn.sampling.temperature and sampling.seed == turn.sampling.seed:
        return sampling.model_copy(update={"seed": (sampling.seed + 1) % SEEDS})
    return sampling


# Export


def as_json(conversation: Conversation) -> str:
    """The whole conversation as JSON; times are in seconds."""
    turns = [
        {
            "question": turn.question,
            "system": turn.system,
            "sampling": turn.sampling.model_dump(),
            "is_on_its_own": turn.is_on_its_own,
            "answers": [
                {"pane": pane.key, **asdict(answer), "tokens_per_second": tokens_per_second(answer)}
                for pane, answer in zip(conversation.panes, turn.answers, strict=True)
            ],
        }
        for turn in conversation.turns
    ]
    exported = {"panes": [pane.key for pane in conversation.panes], "turns": turns}
    return json.dumps(exported, indent=2, ensure_ascii=False) + "\n"


def as_markdown(conversation: Conversation, names: Sequence[str]) -> str:
    """The conversation to read; `names` are the panes'. Texts are in code blocks, so that nothing in them is markup."""
    titles = [_plain(name) for name in names]
    parts = ["# " + tr("Conversation: {panes}", panes=", ".join(titles))]
    system = None
    for number, turn in enumerate(conversation.turns, 1):
        parts.append("## " + tr("{number}. Question", number=number))
        if turn.system != system and (turn.system.strip() or system):
            parts += [tr("System prompt:"), _fenced(turn.system)]
        system = turn.system
        how = mark("Asked on its own, with {settings}.") if turn.is_on_its_own else mark("Asked with {settings}.")
        parts += [_fenced(turn.question), tr(how, settings=sampling_words(turn.sampling))]
        for title, answer in zip(titles, turn.answers, strict=True):
            parts += [f"### {title}", _fenced(answer.text), f"{answer_figures(answer)}."]
    return "\n\n".join(parts) + "\n"


def tokens_per_second(answer: Answer) -> float | None:
    """Over the whole answer; None before the first token."""
    return round(answer.tokens / answer.seconds, 2) if answer.tokens and answer.seconds else None


def answer_figures(answer: Answer) -> str:
    """As in "ended by itself · 8 tokens · 41 tokens/s · first after 0.12 s"."""
    speed = tokens_per_second(answer)
    figures = [tr(ENDS[answer.ended]), trn("{count:,} token", "{count:,} tokens", answer.tokens)]
    if speed is not None:
        figures.append(tr("{speed} tokens/s", speed=f"{speed:.{0 if speed >= 10 else 1}f}"))
    if answer.first_token_s:
        figures.append(tr("first token after {seconds:.2f} s", seconds=answer.first_token_s))
    return " · ".join(figures)


def sampling_words(sampling: Sampling) -> str:
    """As in "temperature 0.7, top-p 0.9, seed 3407, at most 128 tokens"."""
    if not sampling.temperature:
        return tr("temperature 0 (exact), at most {tokens:,} tokens", tokens=sampling.max_new_tokens)
    return tr(
        "temperature {temperature:g}, top-p {top_p:g}, seed {seed}, at most {tokens:,} tokens",
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        tokens=sampling.max_new_tokens,
    )


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any in the text, so that nothing in the text can end the block."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _plain(name: str) -> str:
    """A name as one line without markup, for a heading."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|&~$])", r"\\\1", " ".join(name.split()))
