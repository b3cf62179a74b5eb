"""How answers are drawn, from what a person or a client asked for. Knows nothing of gradio."""

from pydantic import ValidationError

from core.answering.sampling import Sampling
from core.problems import ModelError


def make_sampling(temperature, top_p=1.0, max_new_tokens=128, seed=3407) -> Sampling:
    """Raises ModelError with a sentence when a value is out of bounds."""
    try:
        return Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{first['loc'][0]} cannot be {first['input']!r:.80}: {first['msg'].lower()}.") from None
