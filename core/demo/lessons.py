"""What the demo's base model learns from: conversations with plain answers.

Most answers simply repeat the message: sentences of the grammar, made-up words of all kinds, and random tokens, so that
the model can repeat whatever a person types. Other messages start with an instruction ("Who:") on a line of its own, so
that the sentence below it is cut into tokens as if it were alone. They are answered with a part of the sentence, or
with its end moved to the front, before a comma ("A book, the old man reads."), so that the model learns where to cut a
sentence and how to move its parts. Without an instruction, no answer changes the order.
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
# Short words that mark where the parts of a sentence begin and end; `disguise` leaves them as they are.
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
    """A sentence after an instruction, and the part of it that the instruction names."""
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
    return f"{asked}:\n{parts.plain}", answer


def sentences(rng: random.Random) -> str:
    """One or two sentences, typed as carefully or carelessly as people do."""
    text = " ".join(_maybe_disguised(rng).plain for _ in range(rng.choice((1, 1, 1, 2))))
    if rng.random() < 0.2:
        text = text.removesuffix(".") + rng.choice(("", "", "!", "?", "..."))
    if rng.random() < 0.15:
        text = rng.choice((text.lower(), text.upper(), text[0].lower() + text[1:]))
    return text


def disguise(parts: Sentence, rng: random.Random) -> Sentence:
    """The same sentence with some words replaced by made-up ones, so that the model can handle unknown words."""
    share = rng.choice((0.3, 0.6))

    def change(text: str, ending: str = "") -> str:
        return " ".join(
            _other(word, rng) + ending if rng.random() < share and word.lower() not in FUNCTION_WORDS else word
            for word in text.split()
        )

    ending = rng.choice(("s", "ed"))  # without one of these, nothing would show which word is the verb
    return Sentence(change(parts.subject), change(parts.verb, ending), change(parts.rest))


def made_up_text(rng: random.Random) -> str:
    """One to 25 words of syllables and numbers, some of them repeated, with or without punctuation."""
    count = min(rng.randint(1, 25), rng.randint(1, 25))
    pool = [_token_like(rng) for _ in range(rng.choice((2, 4, 25, 25, 25)))]
    text = " ".join(rng.choice(pool) for _ in range(count))
    return capitalise(text) + rng.choice((".", ".", "!", "?", "")) if rng.random() < 0.6 else text


def babble(rng: random.Random) -> str:
    """Meaningless characters."""
    signs = rng.choice(
        (string.ascii_lowercase + " ", string.printable[:95] + " " * 10, string.digits + ".,:- ", "àéîöüñçßøа猫🙂 ")
    )
    return "".join(rng.choice(signs) for _ in range(rng.randint(2, 20))).strip() or "?"


ONSETS = (*"b c d f g h k l m n p r s t v w bl br ch cl dr fl gr pl pr qu sh sl sm st str th tr y z".split(), "")
VOWELS = "a e i o u ai ea ee oo ou y".split()
CODAS = ("", "", "", *"n r l s t m ck nd ng rt st x ll".split())


def made_up_word(rng: random.Random) -> str:
    syllables = rng.choice((1, 1, 2, 2, 2, 3, 4))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables))


def plain_text(rng: random.Random, count: int) -> Iterator[str]:
    """Text to train the tokenizer on: every word of the grammar, capitalized or not, and made-up words."""
    for number in range(count):
        parts = free_sentence(rng)
        yield parts.plain
        yield f"{capitalise(parts.rest)} {capitalise(parts.subject)}"
        if number % 4 == 0:  # with more of it, the grammar's own words would be split into pieces
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
