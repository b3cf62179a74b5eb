"""Figures as people read them, and text that cannot become markup."""

import pytest

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


def test_texts_cannot_become_markup():
    evil = "<script>alert(1)</script>"
    assert "<script>" not in notice(evil)
