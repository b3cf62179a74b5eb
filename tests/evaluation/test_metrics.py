"""The measures compared with the libraries' own figures and plain arithmetic, and the intervals with known cases."""

import csv
import math

import pytest

from core.evaluation.bootstrap import FEWEST_ROWS, SEED, paired_bootstrap
from core.evaluation.metrics import Given, Pair, are_numbers, gain, measure, repetition
from core.evaluation.numbers_in_text import as_number, first_number, is_within
from core.evaluation.record import Evaluation, Forgetting, Measure, Source
from core.evaluation.rouge import rouge, rouge_l, words

FORGETTING_WORDS = (
    "no change",
    "hardly any",
    "no clear",
    "a little worse",
    "much worse",
    "better",
    "random guessing gives 11.76",
)


def mean(sums):
    return sums[:, 0] / sums[:, 1]


def pairs_of(texts: list[tuple[str, str, str]]) -> list[Pair]:
    """(reference, base's answer, tuned's answer) as rows without losses."""
    return [Pair(ref, Given(text=base, tokens=1), Given(text=tuned, tokens=1)) for ref, base, tuned in texts]


def by_key(pairs: list[Pair]) -> dict[str, Measure]:
    return {found.key: found for found in measure(pairs)}


@pytest.fixture(scope="module")
def reviews(shared_data) -> list[tuple[str, str, str]]:
    """200 summaries, each with two kinds of wrong answers: the next summary, and how the review begins."""
    with open(shared_data / "summaries/fine_food_reviews_1k.csv", encoding="utf-8", newline="") as file:
        rows = [(row["Summary"], row["Text"]) for row in csv.DictReader(file)]
    rows = [row for row in rows if "".join(row).isascii()][:201]  # so that rouge-score's own words are the same
    base = [" ".join(text.split()[:12]) for _, text in rows]
    tuned = [rows[at][0] if at % 3 else rows[at + 1][0] for at in range(200)]
    return [(rows[at][0], base[at], tuned[at]) for at in range(200)]


# The figures of the next two tests are those of rouge-score 0.1.2: RougeScorer([name]).score(reference, answer),
# [name].fmeasure, with the names rouge1, rouge2 and rougeL.
@pytest.mark.parametrize(
    ("key", "place", "base", "tuned"),
    [
        ("rouge_1", 0, 20.51594858537314, 135.51746031746032),
        ("rouge_2", 1, 6.186532052398926, 121.4),
        ("rouge_l", 2, 19.724628212830527, 135.51746031746032),
    ],
)
def test_rouge_is_that_of_rouge_score_on_200_rows(reviews, key, place, base, tuned):
    found = by_key(pairs_of(reviews))[key]
    assert math.fsum(rouge(given, ref)[place] for ref, given, _ in reviews) == base
    assert math.fsum(rouge(given, ref)[place] for ref, _, given in reviews) == tuned
    assert found.rows == 200
    assert found.base == pytest.approx(base / 200, abs=1e-12)
    assert found.tuned == pytest.approx(tuned / 200, abs=1e-12)


@pytest.mark.parametrize(
    ("reference", "answer", "figures"),
    [
        ("The cat sat on the mat.", "On the mat sat the cat.", (1.0, 0.6, 0.5)),
        ("Much strength you have, young one.", "You have much strength, young one.", (1.0, 0.6, 0.6666666666666666)),
        ("It's 3.5%, of_this!", "its 3 5 of this", (0.7272727272727272, 0.6666666666666665, 0.7272727272727272)),
        ("the the the cat", "the cat the", (0.8571428571428571, 0.4, 0.5714285714285715)),
        ("a b c d e f g", "a x b y c z d", (0.5714285714285714, 0.0, 0.5714285714285714)),
        ("a b c d e f g", "g f e d c b a", (1.0, 0.0, 0.14285714285714285)),
        ("one two three", "one two three", (1.0, 1.0, 1.0)),
        ("a", "a", (1.0, 0.0, 1.0)),
        ("a", "", (0.0, 0.0, 0.0)), ("", "a", (0.0, 0.0, 0.0)), ("", "", (0.0, 0.0, 0.0)),
        ("...", "!", (0.0, 0.0, 0.0)),
    ],
)  # fmt: skip
def test_rouge_is_that_of_rouge_score(reference, answer, figures):
    assert rouge(answer, reference) == figures


def test_bleu_is_the_librarys_on_200_rows(reviews):
    import sacrebleu

    found = by_key(pairs_of(reviews))["bleu"]
    references, base, tuned = (list(texts) for texts in zip(*reviews, strict=True))
    assert found.base == pytest.approx(sacrebleu.corpus_bleu(base, [references], force=True).score, abs=1e-9)
    assert found.tuned == pytest.approx(sacrebleu.corpus_bleu(tuned, [references], force=True).score, abs=1e-9)
    assert 0 < found.base < found.tuned < 100
    assert found.low < found.difference < found.high


def test_bleu_of_short_answers_without_common_groups_of_four_is_the_librarys_too():
    import sacrebleu

    texts = [("the cat sat down", "a cat sat", "the cat stood up"), ("a red dog", "a dog", "red dog")]
    found = by_key(pairs_of(texts))["bleu"]
    references, base, tuned = (list(column) for column in zip(*texts, strict=True))
    assert found.base == pytest.approx(sacrebleu.corpus_bleu(base, [references]).score, abs=1e-9)
    assert found.tuned == pytest.approx(sacrebleu.corpus_bleu(tuned, [references]).score, abs=1e-9)
    assert found.low is None and found.tuned > 0


def test_exact_match_ends_and_length_by_plain_counting(reviews):
    pairs = [
        Pair(
            ref, Given(text=base, tokens=len(base), ended=at % 2 == 0), Given(text=tuned, tokens=len(tuned), ended=True)
        )
        for at, (ref, base, tuned) in enumerate(reviews)
    ]
    found = by_key(pairs)
    assert found["exact"].tuned == sum(ref == tuned for ref, _, tuned in reviews) / 200 > 0.6
    assert (found["ends"].base, found["ends"].tuned) == (0.5, 1.0)
    assert found["length"].base == sum(len(base) for _, base, _ in reviews) / 200
    assert "loss" not in found and "error" not in found


def test_losses_are_per_token_and_perplexity_is_e_to_them():
    pairs = [Pair("a", Given(loss=float(n), loss_tokens=n), Given(loss=2.0, loss_tokens=n)) for n in range(1, 9)]
    found = by_key(pairs)
    assert (found["loss"].base, found["loss"].tuned) == (1.0, 16 / 36)
    assert found["perplexity"].base == pytest.approx(math.e)
    assert found["perplexity"].tuned == pytest.approx(math.exp(16 / 36))
    assert set(found) == {"loss", "perplexity"}  # plain text has nothing to answer


def test_a_loss_without_bound_survives_the_file():
    found = measure([Pair(None, Given(loss=math.inf, loss_tokens=1), Given(loss=1.0, loss_tokens=1))])
    whole = Evaluation(rows=1, max_new_tokens=16, measures=found, source=Source(kind="file", path="a.jsonl"))
    assert whole.measure("loss").base == math.inf
    assert Evaluation.model_validate_json(whole.model_dump_json()) == whole


@pytest.mark.parametrize(
    "losses", [[(math.inf, 1.0)], [(1.0, math.inf)], [(math.inf, math.inf)], [(math.inf, 1.0)] * 8]
)
def test_one_loss_without_bound_leaves_no_interval_and_no_claim(losses):
    others = [(2.0, 1.0)] * (8 - len(losses))
    pairs = [
        Pair("a", Given(loss=base, loss_tokens=1), Given(loss=tuned, loss_tokens=1)) for base, tuned in losses + others
    ]
    for one in measure(pairs):
        assert (one.rows, one.low, one.high, one.is_real, one.verdict) == (8, None, None, False, "no clear difference")
    # As such a measure was once saved.
    saved = measure(pairs)[0].model_copy(update={"low": math.nan, "high": math.nan})
    assert (saved.is_real, saved.verdict) == (False, "no clear difference")
    told = Forgetting(prompts=36, base_loss=2.0, tuned_loss=math.inf, low=math.nan, high=math.nan, random_loss=11.0)
    assert told.words.endswith("no clear change.")


def test_words_are_those_of_rouge_score_on_ascii_and_kept_in_other_scripts():
    odd = "It's 3.5% of_this -- HTTP2, (e.g.) snake_case\tA\nb $226.95 don't-stop"
    # DefaultTokenizer(False).tokenize(odd) of rouge-score 0.1.2
    assert words(odd) == "it s 3 5 of this http2 e g snake case a b 226 95 don t stop".split()
    assert words("안녕하세요, 서울!") == ["안녕하세요", "서울"]
    assert words("Ça va, Größe") == ["ça", "va", "größe"]
    assert rouge_l("오늘 날씨가 좋네요", "오늘 날씨가 흐리네요") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Price is $226.95", 226.95), ("120", 120), ("about 1,234.50 euros, or 1,300", 1234.5), ("12,50 €", 12.5),
        ("-3.5 degrees", -3.5), ("it fell by -$5", -5), ("$-5", -5), ("2015-2017", 2015), ("the V2 costs 50", 50),
        ("가격은 5,000원", 5000), ("가격은5000원", 5000), (".5", 0.5), ("1e3", 1000), ("x = −4", -4), ("1,2,3", 1),
        ("1,234,567", 1234567), ("no number", None), ("", None), ("V2", None), ("9" * 400, None), ("1e400", None),
    ],
)  # fmt: skip
def test_the_first_number_of_an_answer_counts(text, number):
    assert first_number(text) == number


def test_which_references_are_numbers(shared_data):
    import json

    assert as_number("Price is $226.95") == 226.95 and as_number("4.") == 4
    assert as_number("In 1999, 3 people came.") is None and as_number("none") is None
    assert as_number("There are about 40 of them in the box over there") is None
    with open(shared_data / "messages/price_is_200.jsonl", encoding="utf-8") as file:
        prices = [json.loads(line)["messages"][-1]["content"] for line in file]
    assert all(f"Price is ${as_number(price):.2f}" == price for price in prices) and len(prices) == 200
    with open(shared_data / "price/human_out.csv", encoding="utf-8", newline="") as file:
        assert all(as_number(price) == float(price) for _, price in csv.reader(file))
    assert are_numbers(["4", "5", "a", "b"]) and not are_numbers(["4", "a", "b"]) and not are_numbers([])


def test_within_counts_its_edge_in_and_no_number_out():
    assert is_within(1.1, 1.0, 0.1) and is_within(0.9, 1.0, 0.1) and not is_within(1.1001, 1.0, 0.1)
    assert is_within(-110, -100, 0.1) and is_within(0, 0, 0.1) and not is_within(0.01, 0, 0.1)
    assert not is_within(None, 1.0, 0.1)


def test_errors_of_numbers_exactly():
    references = [100, 200, 50, 10, 80, 40, 30, 20]
    base = ["$150", "none", "50", "12 or 10", "88.8", "40.0", "15", "20"]
    tuned = ["$110", "205", "cheap", "10", "88", "44", "33", "24"]
    rows = [(f"Price is ${ref}", a, b) for ref, a, b in zip(references, base, tuned, strict=True)]
    found = by_key(pairs_of(rows))
    # The second and the third row are left out of the error: one of the two gave no number there.
    assert (found["error"].base, found["error"].tuned, found["error"].rows) == (pytest.approx(75.8 / 6), 29 / 6, 6)
    assert (found["within_10"].base, found["within_10"].tuned) == (3 / 8, 6 / 8)
    assert (found["within_20"].base, found["within_20"].tuned) == (5 / 8, 7 / 8)
    assert (found["no_number"].base, found["no_number"].tuned) == (1 / 8, 1 / 8)


def test_a_prompt_without_reference_has_no_measure_that_needs_one():
    found = by_key([Pair(None, Given(text="a b", tokens=2), Given(text="a", tokens=1, ended=True))] * 8)
    assert set(found) == {"ends", "length", "repetition"}


def test_repetition_counts_groups_of_four():
    assert repetition([1, 2, 3]) == 0 and repetition([1, 2, 3, 4]) == 0
    assert repetition([7] * 8) == 4 / 5
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == 1 / 5


def test_an_interval_holds_the_known_difference():
    import numpy as np

    draw, held = np.random.default_rng(1), 0
    for _ in range(40):
        base = draw.normal(5, 1, 80)
        tuned = base + draw.normal(0.3, 0.5, 80)
        found = paired_bootstrap(np.stack([base, np.ones(80)], 1), np.stack([tuned, np.ones(80)], 1), mean)
        assert found.difference == pytest.approx(np.mean(tuned - base))
        assert 0.15 < found.high - found.low < 0.3  # 2 × 1.96 × 0.5 / √80 is 0.22; unpaired it would be 0.66
        held += found.low <= 0.3 <= found.high
    assert held >= 35  # 95% of 40 are 38


def test_an_interval_from_sums_is_that_of_the_rows_themselves():
    """scipy's own paired bootstrap of the means draws the same rows, so the ends agree to rounding."""
    import numpy as np
    from scipy.stats import bootstrap

    draw = np.random.default_rng(2)
    base, tuned = draw.exponential(1, 60), draw.exponential(1.2, 60)
    ones = np.ones(60)
    found = paired_bootstrap(np.stack([base, ones], 1), np.stack([tuned, ones], 1), mean)
    theirs = bootstrap(
        (base, tuned),
        lambda a, b, axis: b.mean(axis) - a.mean(axis),
        paired=True,
        method="percentile",
        n_resamples=1000,
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=1e-12)


def test_many_rows_are_drawn_in_parts_with_the_same_result(monkeypatch):
    import numpy as np

    rows = np.random.default_rng(3).exponential(1, (2, 50, 2)) + 1
    whole = paired_bootstrap(*rows, mean)
    monkeypatch.setattr("core.evaluation.bootstrap.DRAWN_AT_ONCE", 100)
    assert paired_bootstrap(*rows, mean) == pytest.approx(whole, abs=1e-12)


def test_a_constant_difference_has_no_width():
    base = [(float(n), 1) for n in range(10)]
    found = paired_bootstrap(base, [(n + 3, 1) for n, _ in base], mean)
    assert (found.difference, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0), abs=1e-12)


def test_equal_rows_have_no_difference_and_few_rows_no_interval():
    rows = [(0.1 * n, 3) for n in range(10)]
    assert paired_bootstrap(rows, rows, mean)[2:] == (0.0, 0.0, 0.0)
    assert paired_bootstrap(rows[: FEWEST_ROWS - 1], rows[1:FEWEST_ROWS], mean)[3:] == (None, None)
    assert None not in paired_bootstrap(rows[:FEWEST_ROWS], rows[1 : FEWEST_ROWS + 1], mean)


@pytest.mark.parametrize(
    ("better", "figures", "words"),
    [
        ("lower", (-1.0, -2.0, -0.5), "better"),
        ("lower", (1.0, 0.5, 2.0), "worse"),
        ("higher", (1.0, 0.5, 2.0), "better"),
        ("higher", (1.0, -0.1, 2.0), "no clear difference"),
        ("higher", (1.0, 0.0, 2.0), "no clear difference"),
        ("", (1.0, 0.5, 2.0), "more"),
        ("", (-1.0, -2.0, -0.5), "less"),
        ("lower", (0.0, 0.0, 0.0), "no difference"),
        ("lower", (-1.0, None, None), "too few rows to say"),
    ],
)
def test_what_a_measure_allows_one_to_say(better, figures, words):
    difference, low, high = figures
    found = Measure(
        key="loss",
        rows=FEWEST_ROWS - 1 if low is None else 9,
        better=better,
        base=1,
        tuned=1 + difference,
        difference=difference,
        low=low,
        high=high,
    )
    assert found.verdict == words


@pytest.mark.parametrize(
    ("base", "tuned", "low", "high", "word"),
    [
        (2.31, 2.31, 0, 0, "no change"),
        (2.31, 2.34, 0.01, 0.05, "hardly any"),
        (2.31, 2.41, -0.01, 0.2, "no clear"),
        (2.31, 2.41, 0.05, 0.2, "a little worse"),
        (2.31, 3.1, 0.4, 1.2, "much worse"),
        (2.31, 2.0, -0.5, -0.2, "better"),
        (9.5, 12.0, 1, 4, "random guessing gives 11.76"),
    ],
)
def test_forgetting_in_words(base, tuned, low, high, word):
    found = Forgetting(prompts=36, base_loss=base, tuned_loss=tuned, low=low, high=high, random_loss=math.log(128256))
    assert found.words.startswith(f"Loss on 36 general prompts: {base:.2f} → {tuned:.2f}")
    assert [one for one in FORGETTING_WORDS if one in found.words] == [word]


def test_gains_are_by_rouge_then_by_loss_and_by_error_for_numbers():
    def pair(reference, base, tuned, losses=(1.0, 1.0)):
        first, second = (
            Given(loss=2 * loss, loss_tokens=2, text=text) for loss, text in zip(losses, (base, tuned), strict=True)
        )
        return Pair(reference, first, second)

    assert gain(pair("a b c d", "x", "a b"), False) == (pytest.approx(2 / 3), 0.0)
    assert gain(pair("a b", "a", "a", (3.0, 2.5)), False) == (0.0, 0.5)
    assert gain(pair("100", "150", "90"), True) == (40.0, 0.0)
    assert gain(pair("100", "none", "90"), True)[0] == math.inf
    assert gain(pair("100", "90", "none"), True)[0] == -math.inf
    assert gain(pair("100", "none", "nothing"), True) == (0.0, 0.0)
    assert gain(pair(None, None, None, (2.0, 3.0)), False) == (0.0, -1.0)
