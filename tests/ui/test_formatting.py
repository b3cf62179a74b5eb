"""Figures as people read them, and text that cannot become markup."""

import pytest

from tests.settings.test_language import in_child
from ui.shared.formatting import big, count, duration, gib, notice, percent, rate, run_label


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (gib(23.54), "23.5 GiB"), (gib(1.256), "1.26 GiB"), (gib(0.05), "51 MiB"), (gib(None), "unknown"),
        (duration(7.4), "0:07"), (duration(750), "12:30"), (duration(3723), "1:02:03"),
        (duration(172_799), "47:59:59"), (duration(777_600), "9 days"),
        (count(1, "row"), "1 row"), (count(2000, "row"), "2,000 rows"),
        (big(1_235_814_400), "1.24 B"), (big(260_032), "260 K"),
        (rate(2e-4), "2e-4"), (rate(1.25e-5), "1.25e-5"), (rate(0), "0"),
        (percent(0.5), "50%"), (percent(0.003), "0.3%"), (percent(1), "100%"), (percent(None), "–"),
        (run_label("20261121-235329-demo-yoda"), "demo-yoda, 21 Nov 23:53"), (run_label("mine"), "mine"),
    ],
)  # fmt: skip
def test_figures(made, wanted):
    assert made == wanted


def test_dates_are_written_as_in_the_language_and_english_needs_no_babel():
    code = """
import sys
from ui.shared.formatting import run_label, when
print(run_label("20261121-235329-demo-yoda"), when(1795305229), "babel" in sys.modules, sep="|")
"""
    said = [in_child("-c", code, HEARTHTUNE_LANGUAGE=language, TZ="UTC").stdout for language in ("en", "ko")]
    assert said == [
        "demo-yoda, 21 Nov 23:53|21 Nov 2026 23:53|False\n",
        "demo-yoda, 11월 21일 23:53|2026년 11월 21일 23:53|True\n",
    ]


def test_texts_cannot_become_markup():
    evil = "<script>alert(1)</script>"
    assert "<script>" not in notice(evil)
