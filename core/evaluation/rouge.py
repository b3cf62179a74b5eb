"""ROUGE: the figures of the package rouge-score on English text, and words in any script.

That package drops all but English letters. In languages without spaces a whole clause counts as one word.

Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), sections 2 and 3.1, with beta = 1.
"""

import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise


def words(text: str) -> list[str]:
    """The words that ROUGE counts: runs of letters and digits, in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


@lru_cache(maxsize=4096)
def rouge(answer: str, reference: str) -> tuple[float, float, float]:
    """F-measures (0 to 1) of the words that both have, of the pairs of words, and of the longest common subsequence:
    ROUGE-1, ROUGE-2 and ROUGE-L."""
    from rapidfuzz.distance import LCSseq

    given, wanted = words(answer), words(reference)
    pairs = list(pairwise(given)), list(pairwise(wanted))
    longest = LCSseq.similarity(given, wanted)
    return (
        _f_measure((Counter(given) & Counter(wanted)).total(), len(given), len(wanted)),
        _f_measure((Counter(pairs[0]) & Counter(pairs[1])).total(), len(pairs[0]), len(pairs[1])),
        _f_measure(longest, len(given), len(wanted)),
    )


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L alone."""
    return rouge(answer, reference)[2]


def _f_measure(common: int, given: int, wanted: int) -> float:
    """The harmonic mean of the shares of both texts that they have in common."""
    if not common:
        return 0.0
    precision, recall = common / given, common / wanted
    return 2 * precision * recall / (precision + recall)
