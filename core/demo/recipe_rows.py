"""The English rows with which the recipes can be tried small: Yoda's sentences, prices, and dialogues with summaries.

They have the columns of the datasets that the recipes train on. Everything is drawn from a fixed seed; the Korean rows
beside them were written by hand.
"""

import random
from collections.abc import Iterator

from core.demo.grammar import yoda_rows

YODA_ROWS, PRICE_ROWS, DIALOGUE_ROWS = 240, 240, 72
END = " Hmm."  # what the longer translation ends with

ARTICLES = (  # a product, its usual price in dollars, and what its descriptions say
    ("desk lamp", 35, ("a warm light", "a long arm", "a heavy foot")),
    ("wool blanket", 60, ("soft to the touch", "for a cold night", "in two colors")),
    ("garden chair", 45, ("it folds flat", "for the garden", "made of light wood")),
    ("kitchen clock", 25, ("large numbers", "a quiet hand", "for the wall")),
    ("winter coat", 140, ("warm and light", "with deep pockets", "against wind and rain")),
    ("rain boots", 40, ("dry feet all day", "easy to clean", "for long walks")),
    ("small radio", 55, ("a clear sound", "it fits in one hand", "with an old look")),
    ("tool box", 70, ("room for many tools", "a strong handle", "it locks")),
    ("bicycle", 420, ("seven gears", "good brakes", "for the city")),
    ("guitar", 260, ("a full sound", "made by hand", "with a soft bag")),
    ("coffee mill", 90, ("fine or coarse", "a steel blade", "easy to turn")),
    ("writing desk", 310, ("two drawers", "dark wood", "room for a lamp")),
)
GRADES = (("simple", 0.6), ("good", 1.0), ("very good", 1.5), ("the best", 2.4))
QUESTION = "How much does this cost to the nearest dollar?"

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Noah", "Lily", "Oscar", "Ruth", "Sam")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PLANS = (  # what somebody suggests, what for, and the topic
    ("go to the market", "buy bread and fish", "shopping"),
    ("walk around the lake", "see the birds", "a walk"),
    ("paint the kitchen", "have it done before winter", "work at home"),
    ("visit the old baker", "bring him a cake", "a visit"),
    ("watch the game", "see the young team", "sport"),
    ("cook soup together", "try a new recipe", "cooking"),
    ("take the early train", "be at the sea by noon", "a trip"),
    ("clean the garden", "plant the first trees", "gardening"),
)
TROUBLES = ("work late", "help a neighbor", "see a doctor", "wait for a letter")


def yoda(seed: int = 3407) -> Iterator[dict[str, str]]:
    """sentence, its translation, and the translation with what Yoda adds to it."""
    for row in yoda_rows(YODA_ROWS, seed + 1):
        longer = row["output"]
        yield {
            "sentence": row["instruction"],
            "translation": longer.removesuffix(END),
            "translation_extra": longer,
        }


def prices(seed: int = 3407) -> Iterator[dict[str, str | float]]:
    """A description that ends with the price, and the price in dollars."""
    rng = random.Random(seed)
    for _ in range(PRICE_ROWS):
        name, usual, words = rng.choice(ARTICLES)
        grade, factor = rng.choice(GRADES)
        price = float(max(round(usual * factor * rng.uniform(0.9, 1.1)), 1))
        one, other = rng.sample(words, 2)
        about = f"{name.capitalize()}, {grade}\n{one.capitalize()}, {other}."
        yield {"text": f"{QUESTION}\n\n{about}\n\nPrice is ${price:.2f}", "price": price}


def dialogues(seed: int = 3407) -> Iterator[dict[str, str]]:
    """id, dialogue, summary and topic."""
    rng = random.Random(seed)
    for number in range(DIALOGUE_ROWS):
        plan, purpose, topic = rng.choice(PLANS)
        day, later = rng.sample(DAYS, 2)
        name, trouble = rng.choice(NAMES), rng.choice(TROUBLES)
        turns = [f"Hello {name}! Shall we {plan} on {day}? We could {purpose}."]
        kind = rng.choice(("yes", "no", "later"))
        if kind == "yes":
            turns += ["I would love to. When do we meet?", "At nine, at my house.", f"Good, see you on {day}."]
            end = f"{name} agrees, and they will meet at nine."
        elif kind == "no":
            turns += [f"I am sorry, I must {trouble} on {day}.", "What a pity!", "Ask me again next week."]
            end = f"{name} must {trouble} and cannot come."
        else:
            turns += [f"On {day} I must {trouble}. What about {later}?", f"{later} is fine.", "Then it is a plan."]
            end = f"{name} must {trouble}, so they will do it on {later}."
        spoken = "\n".join(f"#Person{1 + place % 2}#: {turn}" for place, turn in enumerate(turns))
        summary = f"#Person1# asks {name} to {plan} on {day}. {end}"
        yield {"id": f"row_{number}", "dialogue": spoken, "summary": summary, "topic": topic}


FILES = {"yoda.jsonl": yoda, "prices.jsonl": prices, "dialogues.jsonl": dialogues}
