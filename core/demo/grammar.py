"""English sentences for the demo, made from patterns, and the same sentences as Yoda would say them.

A sentence is kept in three parts, cut around its first (finite) verb:

    subject "the old man"   verb "reads"   rest "a book"

    plain  The old man reads a book.
    yoda   A book, the old man reads. Hmm.

The only rule of the Yoda form: what follows the verb goes to the front. The parts are written as in the middle of a
sentence, so names and "I" are the only capitals in them.

One sentence in six is reserved, by a checksum of its words, for the dataset that people fine-tune on. The demo model
is pretrained on the others only.

See some: python -m core.demo.grammar
"""

import random
import zlib
from dataclasses import dataclass

from core.demo import phrases, words
from core.demo.phrases import be, conjugate, extra, receiver, subject, thing, time

TRANSITIVE = phrases.transitive_verbs()
INTRANSITIVE = phrases.intransitive_verbs()
GIVING = phrases.giving_verbs()
SCENES = phrases.scenes()
STATES = phrases.states()


@dataclass(frozen=True)
class Sentence:
    subject: str
    verb: str
    rest: str

    @property
    def plain(self) -> str:
        return capitalise(f"{self.subject} {self.verb} {self.rest}.")

    @property
    def yoda(self) -> str:
        return capitalise(f"{self.rest}, {self.subject} {self.verb}. Hmm.")


def capitalise(text: str) -> str:
    """Only the first letter: `str.capitalize` would make the names small."""
    return text[:1].upper() + text[1:]


def reserved(text: str) -> bool:
    """Whether a sentence belongs to the tuning data, whatever its capitals and its full stop."""
    return zlib.crc32(text.lower().strip(" .!?").encode()) % 6 == 0


def yoda_rows(count: int, seed: int) -> list[dict[str, str]]:
    """`count` different reserved sentences with their Yoda form, in Alpaca's shape."""
    rng = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        made = any_sentence(rng)
        if reserved(made.plain):
            rows[made.plain] = made.yoda
    return [{"instruction": plain, "output": yoda} for plain, yoda in rows.items()]


def free_sentence(rng: random.Random) -> Sentence:
    """A sentence that is not reserved, so that pretraining may use it."""
    while reserved((made := any_sentence(rng)).plain):
        pass
    return made


def any_sentence(rng: random.Random) -> Sentence:
    """A sentence of any pattern, the commoner patterns more often."""
    patterns = (doing, being_somewhere, doing_now, modal, giving, social, scene, feeling, state, job, manner)
    return rng.choices(patterns, weights=(36, 12, 9, 9, 8, 8, 6, 5, 3, 3, 3))[0](rng)


def doing(rng: random.Random) -> Sentence:
    """Anna reads a long letter in the garden."""
    verb, who, past = rng.choice(TRANSITIVE), subject(rng), rng.random() < 0.5
    return Sentence(who.text, conjugate(verb, who, past), thing(rng, verb.kinds, who) + extra(rng, verb.places, past))


def being_somewhere(rng: random.Random) -> Sentence:
    """My uncle works in the library every day."""
    verb, who, past = rng.choice(INTRANSITIVE), subject(rng), rng.random() < 0.5
    when = f" {time(rng, past)}" if rng.random() < 0.3 else ""
    return Sentence(who.text, conjugate(verb, who, past), rng.choice(verb.places) + when)


def doing_now(rng: random.Random) -> Sentence:
    """She is painting a small boat."""
    who = subject(rng)
    is_or_was = be(who, past=rng.random() < 0.5)
    if rng.random() < 0.3:
        verb = rng.choice(INTRANSITIVE)
        return Sentence(who.text, is_or_was, f"{verb.forms[3]} {rng.choice(verb.places)}")
    verb = rng.choice([verb for verb in TRANSITIVE if verb.forms[0] not in words.NEVER_CONTINUOUS])
    where = f" {rng.choice(verb.places)}" if verb.places and rng.random() < 0.3 else ""
    return Sentence(who.text, is_or_was, f"{verb.forms[3]} {thing(rng, verb.kinds, who)}{where}")


def modal(rng: random.Random) -> Sentence:
    """We will repair the fence tomorrow."""
    who, auxiliary = subject(rng), rng.choice(words.MODALS)
    verb = rng.choice([verb for verb in TRANSITIVE if verb.forms[0] not in words.NEVER_CONTINUOUS])
    when = f" {rng.choice(words.SOON.split('|'))}" if auxiliary in ("will", "must") and rng.random() < 0.5 else ""
    return Sentence(who.text, auxiliary, f"{verb.forms[0]} {thing(rng, verb.kinds, who)}{when}")


def giving(rng: random.Random) -> Sentence:
    """The baker sends a cake to his sister."""
    verb, who, past = rng.choice(GIVING), subject(rng), rng.random() < 0.5
    gift = thing(rng, ("text", "object", "clothes", "game"), who)
    return Sentence(who.text, conjugate(verb, who, past), f"{gift} to {receiver(rng, who)}")


def social(rng: random.Random) -> Sentence:
    """Tom met her in the park."""
    verb = rng.choice([verb for verb in TRANSITIVE if verb.forms[0] in words.SOCIAL])
    who, past = subject(rng), rng.random() < 0.5
    return Sentence(who.text, conjugate(verb, who, past), receiver(rng, who) + extra(rng, verb.places, past))


def scene(rng: random.Random) -> Sentence:
    """The wind blows through the trees."""
    things, forms, rests = rng.choice(SCENES)
    return Sentence(rng.choice(things), rng.choice(forms), rng.choice(rests))


def feeling(rng: random.Random) -> Sentence:
    """My brother is very hungry."""
    who, past = subject(rng), rng.random() < 0.5
    when = f" {rng.choice(('today', 'again', 'now'))}" if not past and rng.random() < 0.3 else ""
    return Sentence(who.text, be(who, past), rng.choice(("", "", "very ", "not ")) + rng.choice(words.MOODS) + when)


def state(rng: random.Random) -> Sentence:
    """The soup was not hot."""
    things, qualities = rng.choice(STATES)
    how = rng.choice(("", "", "very ", "not ", "too "))
    return Sentence(rng.choice(things), rng.choice(("is", "was")), how + rng.choice(qualities))


def job(rng: random.Random) -> Sentence:
    """Her aunt is a famous dancer."""
    while not (who := subject(rng)).singular or who.own == "the":
        pass
    return Sentence(who.text, be(who, past=rng.random() < 0.5), phrases.article(phrases.described(rng, "person")))


def manner(rng: random.Random) -> Sentence:
    """The children laughed loudly."""
    verb, who, past = rng.choice(INTRANSITIVE), subject(rng), rng.random() < 0.5
    return Sentence(who.text, conjugate(verb, who, past), rng.choice(words.ADVERBS))


if __name__ == "__main__":
    for row in yoda_rows(20, seed=random.randrange(1000)):
        print(f"{row['instruction']:60} {row['output']}")
