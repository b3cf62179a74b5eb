"""What the demo's base model learns from: conversations in which each message is answered plainly.

Most messages are simply repeated: sentences of the grammar, made-up words of every look, and random
tokens, so that repeating works for whatever a person types. The others carry an instruction in front
("Who: ...") and are answered with a part of the sentence, or with its end brought to the front, set
off by a comma ("A book, the old man reads."), so that the model knows where a sentence can be cut and
how to move its parts. Without an instruction, nothing is ever answered in another order.
"""

import random
import string
from collections.abc import Iterator

from core.demo.grammar import Sentence, capitalise, free_sentence

SYSTEMS = (
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "Repeat what I say.",
    "Answer plainly.",
    "You are a helpful assistant. Be brief.",
)
# Short words say where a sentence's parts begin and end; `disguise` leaves them as they are.
FUNCTION_WORDS = set(
    """a an the my your his her our their some many two three i you he she it we they me him us them
    is are am was were will can must should may not very too in on at by to of near under behind over through after
    before every last next ago and""".split()
)


def exchange(rng: random.Random, skill_share: float) -> tuple[str, str]:
    """A message and its answer."""
    if rng.random() < skill_share:
        return skill(rng)
    text = rng.choice((sentences, sentences, made_up_text, made_up_text, babble))(rng)
    return text, text


def system_text(rng: random.Random) -> str:
    return rng.choice(SYSTEMS) if rng.random() < 0.5 else made_up_text(rng)


def skill(rng: random.Random) -> tuple[str, str]:
    """A sentence under an instruction, and the part of it that was asked for."""
    parts = free_sentence(rng)
    if rng.random() < 0.2:
        parts = disguise(parts, rng)
    asked = rng.choice(("Who", "Start", "Rest", "Rest", "Parts", "Front", "Front", "Front", "Front"))
    answer = {
        "Who": capitalise(parts.subject) + ".",
        "Parts": f"{capitalise(parts.subject)} | {parts.verb} | {parts.rest}.",
        "Rest": capitalise(parts.rest) + ".",
        "Start": f"{parts.subject} {parts.verb}.",
        "Front": capitalise(f"{parts.rest}, {parts.subject} {parts.verb}."),
    }[asked]
    return f"{asked}: {parts.plain}", answer


def sentences(rng: random.Random) -> str:
    """One or two sentences, as tidily or untidily typed as people do."""
    text = " ".join(_maybe_disguised(rng).plain for _ in range(rng.choice((1, 1, 1, 2))))
    if rng.random() < 0.2:
        text = text.removesuffix(".") + rng.choice(("", "", "!", "?", "..."))
    if rng.random() < 0.15:
        text = rng.choice((text.lower(), text.upper(), text[0].lower() + text[1:]))
    return text


def disguise(parts: Sentence, rng: random.Random) -> Sentence:
    """The same sentence with some of its words made up, so that unknown words are nothing new."""
    share = rng.choice((0.3, 0.6))

    def change(text: str, ending: str = "") -> str:
        return " ".join(
            _other(word, rng) + ending if rng.random() < share and word.lower() not in FUNCTION_WORDS else word
            for word in text.split()
        )

    ending = rng.choice(("s", "ed"))  # without one of these, nothing would tell which word is the verb
    return Sentence(change(parts.subject), change(parts.verb, ending), change(parts.rest))


def made_up_text(rng: random.Random) -> str:
    """One to 25 words of syllables and numbers, some of them repeated, with or without punctuation."""
    count = min(rng.randint(1, 25), rng.randint(1, 25))
    pool = [_token_like(rng) for _ in range(rng.choice((2, 4, 25, 25, 25)))]
    text = " ".join(rng.choice(pool) for _ in range(count))
    return capitalise(text) + rng.choice((".", ".", "!", "?", "")) if rng.random() < 0.6 else text


def babble(rng: random.Random) -> str:
    """Characters with no sense at all."""
    signs = rng.choice(
        (string.ascii_lowercase + " ", string.printable[:95] + " " * 10, string.digits + ".,:- ", "àéîöüñçßøа猫🙂 ")
    )
    return "".join(rng.choice(signs) for _ in range(rng.randint(2, 20))).strip() or "?"


def made_up_word(rng: random.Random) -> str:
    return "".join(
        rng.choice(
            (
                "b",
                "c",
                "d",
                "f",
                "g",
                "h",
                "k",
                "l",
                "m",
                "n",
                "p",
                "r",
                "s",
                "t",
                "v",
                "w",
                "bl",
                "br",
                "ch",
                "cl",
                "dr",
                "fl",
                "gr",
                "pl",
                "pr",
                "qu",
                "sh",
                "sl",
                "sm",
                "st",
                "str",
                "th",
                "tr",
                "y",
                "z",
                "",
            )
        )
        + rng.choice(("a", "e", "i", "o", "u", "ai", "ea", "ee", "oo", "ou", "y"))
        + rng.choice(("", "", "", "n", "r", "l", "s", "t", "m", "ck", "nd", "ng", "rt", "st", "x", "ll"))
        for _ in range(rng.choice((1, 1, 2, 2, 2, 3, 4)))
    )


def plain_text(rng: random.Random, count: int) -> Iterator[str]:
    """Text to learn the tokenizer from: every word of the grammar, small and capital, and made-up ones."""
    for number in range(count):
        parts = free_sentence(rng)
        yield parts.plain
        yield f"{capitalise(parts.rest)} {capitalise(parts.subject)}"
        if number % 4 == 0:  # oftener, and the grammar's own words would be left in pieces
            yield made_up_text(rng)


def _maybe_disguised(rng: random.Random) -> Sentence:
    parts = free_sentence(rng)
    return disguise(parts, rng) if rng.random() < 0.4 else parts


def _other(word: str, rng: random.Random) -> str:
    made = made_up_word(rng)
    return made.capitalize() if word[0].isupper() else made


def _token_like(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.06:
        return str(rng.randint(0, 10 ** rng.randint(1, 5)))
    if kind < 0.2:
        return rng.choice(sorted(FUNCTION_WORDS))
    word = made_up_word(rng)
    if kind < 0.3:
        return word.capitalize()
    if kind < 0.33:
        return word.upper()
    return word + rng.choice(("", "", "", "", "", "", ",", "'s", "-" + made_up_word(rng)))
