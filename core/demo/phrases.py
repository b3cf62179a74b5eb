"""The pieces of a demo sentence: who, what, where and when, and the forms of the verb.

The words come from `words.py`, and every choice from the `random.Random` that is passed in.
"""

import random
from dataclasses import dataclass

from core.demo import words


@dataclass(frozen=True)
class Subject:
    text: str
    own: str  # the possessive that points back to it: "his"; "the" where that is unknown
    singular: bool  # third person singular: "reads", not "read"


@dataclass(frozen=True)
class Verb:
    forms: tuple[str, str, str, str]  # read, reads, read, reading
    kinds: tuple[str, ...]  # of things it takes; none for a verb without an object
    places: tuple[str, ...]


def transitive_verbs() -> list[Verb]:
    verbs = []
    for forms, kinds, places in _table(words.TRANSITIVE):
        verbs.append(Verb(tuple(forms.split()), tuple(kinds.split()), _places(places)))
    return verbs


def intransitive_verbs() -> list[Verb]:
    return [Verb(tuple(forms.split()), (), _places(places)) for forms, places in _table(words.INTRANSITIVE)]


def giving_verbs() -> list[Verb]:
    return [Verb(tuple(forms.split()), (), ()) for (forms,) in _table(words.GIVING)]


def scenes() -> list[tuple[list[str], list[str], list[str]]]:
    """(subjects, verb forms, rests) that go together in any combination."""
    return [(who.split("|"), forms.split(", "), rest.split("|")) for who, forms, rest in _table(words.SCENES)]


def states() -> list[tuple[list[str], list[str]]]:
    return [(things.split("|"), qualities.split("|")) for things, qualities in _table(words.STATES)]


def subject(rng: random.Random) -> Subject:
    kind = rng.choices(("name", "pronoun", "person", "relative", "group"), weights=(25, 20, 28, 17, 10))[0]
    if kind == "name":
        name = rng.choice(list(words.NAMES))
        return Subject(name, words.NAMES[name], True)
    if kind == "pronoun":
        text = rng.choice(list(words.PRONOUNS))
        own, singular = words.PRONOUNS[text]
        return Subject(text, own, singular)
    if kind == "relative":
        text = rng.choice(list(words.RELATIVES))
        return Subject(f"{rng.choice(('my', 'our', 'his', 'her', 'your'))} {text}", words.RELATIVES[text], True)
    if kind == "group":
        return Subject(rng.choice(words.GROUPS), "their", False)
    noun = rng.choice(words.PEOPLE)
    if rng.random() < 0.6:
        noun = f"{rng.choice(words.PEOPLE_ADJECTIVES)} {noun}"
    return Subject(f"the {noun}" if rng.random() < 0.75 else article(noun), "the", True)


def conjugate(verb: Verb, who: Subject, past: bool) -> str:
    base, third, simple_past, _ = verb.forms
    return simple_past if past else third if who.singular else base


def be(who: Subject, past: bool) -> str:
    if who.text == "I":
        return "was" if past else "am"
    if who.singular:
        return "was" if past else "is"
    return "were" if past else "are"


def thing(rng: random.Random, kinds: tuple[str, ...], who: Subject) -> str:
    """A noun with its article, with or without an adjective: "a long letter", "her coat"."""
    kind = rng.choice(kinds)
    noun = described(rng, kind)
    choice = rng.random()
    if choice < 0.55 or kind in ("drink", "person"):
        return article(noun)
    if choice < 0.85 or who.own == "the":
        return f"the {noun}"
    return f"{who.own} {noun}"


def described(rng: random.Random, kind: str) -> str:
    nouns, adjectives = words.THINGS[kind]
    noun = rng.choice(nouns.split("|") if "|" in nouns else nouns.split())
    if adjectives and rng.random() < 0.55:
        return f"{rng.choice(adjectives.split())} {noun}"
    return noun


def receiver(rng: random.Random, who: Subject) -> str:
    """Somebody other than the subject, as an object: a name, a relative, a pronoun, a person."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice([name for name in words.NAMES if name != who.text])
    if kind < 0.6:
        relatives = [relative for relative in words.RELATIVES if not who.text.endswith(relative)]
        return f"{who.own if who.own != 'the' else 'my'} {rng.choice(relatives)}"
    if kind < 0.8:
        return rng.choice([pronoun for pronoun in words.OBJECT_PRONOUNS if pronoun not in _same_person(who)])
    return f"the {rng.choice([person for person in words.PEOPLE if not who.text.endswith(person)])}"


def extra(rng: random.Random, places: tuple[str, ...], past: bool) -> str:
    """Nothing, or one of the verb's places, or a time, with the space before it. Verbs without a
    place get no time either: they are the likes of "love" and "need"."""
    choice = rng.random()
    if choice < 0.45 or not places:
        return ""
    if choice < 0.7:
        return f" {rng.choice(places)}"
    return f" {time(rng, past)}"


def time(rng: random.Random, past: bool) -> str:
    return rng.choice((words.THEN if past else words.NOW).split("|"))


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _same_person(who: Subject) -> tuple[str, ...]:
    """The object pronouns that would be reflexive ("I see me") or read as such ("he sees him")."""
    return {
        "I": ("me", "us"),
        "you": ("you",),
        "we": ("us", "me"),
        "they": ("them",),
        "he": ("him",),
        "she": ("her",),
    }.get(who.text, ())


def _places(kinds: str) -> tuple[str, ...]:
    return tuple(place for kind in kinds.split() for place in words.PLACES[kind].split("|"))


def _table(text: str) -> list[list[str]]:
    """Lines of cells, as in words.py. A bar with spaces around it parts cells; one without parts choices."""
    return [[cell.strip() for cell in f"{line} ".split(" | ")] for line in text.strip().splitlines()]
