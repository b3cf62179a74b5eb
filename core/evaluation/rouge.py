"""ROUGE by rouge-score, on words in any script, while its own tokenizer drops all but English letters.

In languages without spaces a whole clause counts as one word.
"""

import re
from functools import cache, lru_cache


class Tokenizer:
    """Splits text into words for rouge-score: on English text like the library's own, and it keeps other scripts."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


@cache
def _scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Tokenizer())


@lru_cache(maxsize=4096)
def rouge(answer: str, reference: str) -> tuple[float, float, float]:
    """F-measures (0 to 1) of the words that both have, of the pairs of words, and of the longest common subsequence:
    ROUGE-1, ROUGE-2 and ROUGE-L."""
    found = _scorer().score(reference, answer)
    return found["rouge1"].fmeasure, found["rouge2"].fmeasure, found["rougeL"].fmeasure


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L alone."""
    return rouge(answer, reference)[2]
