"""The day that a chat template takes for today.

Some templates, such as Llama 3.2's, print it (`strftime_now`). A run has one date for all its prompts, so that its rows
stay the same from one day to the next.
"""

from copy import copy
from datetime import date
from functools import partial


def on_date(tokenizer, day: date | None):
    """A copy of the tokenizer whose chat template takes this day for today; the tokenizer itself if `day` is None.

    The copy shares the vocabulary, so making one costs nothing. The time of the day is midnight.
    """
    if day is None:
        return tokenizer
    dated = copy(tokenizer)
    # What is passed to a template comes before transformers' own function of that name.
    dated.apply_chat_template = partial(tokenizer.apply_chat_template, strftime_now=day.strftime)
    return dated


def prints_date(tokenizer, prompt_template: str) -> bool:
    """Whether prompts in this template have a date that is not always the same."""
    return prompt_template == "chat" and "strftime_now" in str(tokenizer.chat_template)
