"""What the page shows about memory: the verdict, the bar and its legend, the changes that help, and measurements."""

import json
import re
from html import unescape

import pytest

from core.memory.cards import Card
from core.memory.hardware import Machine, MemoryStats
from core.memory.largest import Largest
from core.memory.parts import PARTS, Estimate
from core.memory.probe_record import ProbeRecord
from core.memory.suggestions import Suggestion
from core.runs.events import Estimated, Finished, Probed
from core.runs.snapshot import Snapshot
from core.training.largest_batch import BatchFound
from core.workbench.probe_job import Probing
from ui.shared.formatting import pace, size
from ui.sidebar import machine_text
from ui.train.fit_view import THIS_MACHINE, fetch_text, fit_text, found_text, probing_text
from ui.train.run_figures import memory_text

CARD = Card(name="RTX 3050 8GB", memory_gib=8, kept_gib=0.5)
HERE = Card(name=THIS_MACHINE, memory_gib=16, is_gpu=False, kept_gib=4)
TOOK = {"weights": 4.0, "adapter": 0.25, "gradients": 0.25, "optimizer": 0.125, "activations": 0.5, "logits": 0.375}


def took(**more: float) -> Estimate:
    """6 GiB without trained embeddings, or with what is given."""
    return Estimate(parts={**dict.fromkeys(PARTS, 0.0), **TOOK, "overhead": 0.5, **more})


def plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", re.sub(r"(?=<(?:p|li)\b)", " ", html))).split())


def verdict_of(html: str) -> str:
    return plain(re.search(r'<p class="fit-words.*?</p>', html)[0])


def legend(html: str) -> list[str]:
    return [plain(entry) for entry in re.findall(r"<li>(<i class=.*?)</li>", html)]


def bar(html: str) -> list[tuple[str, float]]:
    return [(key, float(width)) for key, width in re.findall(r'<i class="part-(\w+)" style="width:([\d.]+)%"', html)]


def changes(html: str) -> str:
    return html[html.index('<div class="fit-changes">') :]


def suggested(html: str) -> list[tuple[str, str]]:
    """What each change is, and what it saves; a star when it is enough by itself."""
    found = re.findall(r"<li>(.*?) <span>(.*?)</span></li>", changes(html))
    return [
        (plain(words), f"{re.search('[0-9.]+ GiB', saves)[0]}{'*' * ('enough' in saves)}") for words, saves in found
    ]


def bold(html: str) -> list[str]:
    return re.findall(r"<b>(.*?)</b>", re.search(r'<p class="fit-words.*?</p>', html)[0])


def settings(html: str) -> list[list[str]]:
    """What each button puts into the form."""
    return [json.loads(unescape(found)) for found in re.findall(r'data-ask="apply" data-settings="([^"]*)"', html)]


@pytest.mark.parametrize(
    ("estimate", "card", "kind", "figures", "left"),
    [
        (took(), CARD, "fits", ["6.0 GiB", "7.5 GiB"], "1.5 GiB"),
        (took(weights=5.0), CARD, "tight", ["7.0 GiB", "7.5 GiB"], "0.50 GiB"),
        (took(weights=7.5), CARD, "no", ["9.5 GiB", "7.5 GiB"], "2.0 GiB"),
        (took(weights=8.0), HERE, "fits", ["10.0 GiB", "12.0 GiB"], "2.0 GiB"),
    ],
)
def test_the_verdict_says_by_how_much(estimate, card, kind, figures, left):
    text = fit_text(estimate, card)
    assert f'<p class="fit-words {kind}" role="status">' in text
    assert re.findall(r"[\d.]+ GiB", verdict_of(text)) == [*figures, left]
    assert bold(text)[1:] == [figures[0], *([left] if kind == "no" else [])]
    assert card.name in verdict_of(text) and ("the RTX" in verdict_of(text)) == (card is CARD)


def test_the_legend_has_each_part_that_there_is_in_the_order_of_the_bar():
    text = fit_text(took(), CARD)
    assert legend(text) == [
        "weights 4.0 GiB", "adapter 0.25 GiB", "gradients 0.25 GiB", "optimizer 0.12 GiB", "activations 0.50 GiB",
        "logits 0.38 GiB", "CUDA overhead 0.50 GiB",
    ]  # fmt: skip
    assert [key for key, _ in bar(text)] == [*TOOK, "overhead"]
    assert legend(fit_text(took(embeddings=1.25), CARD))[2] == "trained embeddings 1.2 GiB"
    assert legend(fit_text(took(), HERE))[-1] == "program and libraries 0.50 GiB", "there is no CUDA without a card"


def test_the_bar_and_the_mark_have_one_scale():
    text = fit_text(took(), CARD)
    assert dict(bar(text))["weights"] == pytest.approx(4 / 7.5 * 100, abs=0.01)
    assert sum(width for _, width in bar(text)) == pytest.approx(6 / 7.5 * 100, abs=0.05)
    assert 'class="fit-end" style="left:100.00%"' in text and "fit-beyond" not in text
    over = fit_text(took(weights=8.0), CARD)
    assert sum(width for _, width in bar(over)) == pytest.approx(100, abs=0.05)
    assert 'class="fit-end" style="left:75.00%"' in over and 'class="fit-beyond" style="left:75.00%"' in over
    assert "card limit: 7.5 GiB" in over and "memory limit: 12.0 GiB" in fit_text(took(), HERE)


def test_a_reader_who_sees_no_bar_hears_it():
    assert (
        'aria-label="weights 4.0 GiB, adapter 0.25 GiB, gradients 0.25 GiB, optimizer 0.12 GiB, activations 0.50 GiB, '
        'logits 0.38 GiB, CUDA overhead 0.50 GiB; card limit 7.5 GiB"'
    ) in fit_text(took(), CARD)


BATCH = Suggestion(
    set="training.per_device_train_batch_size=1", also=("training.gradient_accumulation_steps=8",), words="batch 2 → 1",
    saves_gib=1.25,
)  # fmt: skip
LENGTH = Suggestion(set="model.max_seq_length=1024", words="length 2,048 → 1,024", saves_gib=0.75)
SMALL = Suggestion(set="adapter.r=8", words="rank 16 → 8", saves_gib=0.004)


def test_changes_say_what_each_saves_and_which_is_enough():
    text = fit_text(took(weights=6.5), CARD, [BATCH, LENGTH, SMALL])
    assert suggested(text) == [("batch 2 → 1", "1.2 GiB*"), ("length 2,048 → 1,024", "0.75 GiB")]
    assert settings(text) == [[BATCH.set, *BATCH.also], [LENGTH.set]]


def test_where_none_is_enough_it_offers_those_that_together_are():
    far = took(weights=8.0)
    text = fit_text(far, CARD, [BATCH, LENGTH], [LENGTH, BATCH])
    length, batch = ("length 2,048 → 1,024", "0.75 GiB"), ("batch 2 → 1", "1.2 GiB")
    assert suggested(text) == [length, batch, batch, length]
    assert settings(text) == [[LENGTH.set, BATCH.set, *BATCH.also], [BATCH.set, *BATCH.also], [LENGTH.set]]
    assert changes(text).count("<ul>") == changes(fit_text(far, CARD, [LENGTH])).count("<p>") == 2
    hopeless = changes(fit_text(far, CARD))
    assert hopeless.count("<p>") == 1 and "<ul>" not in hopeless and "smaller model" in hopeless
    assert suggested(fit_text(far, CARD, [LENGTH])) == [length]
    assert "smaller model" in fit_text(far, CARD, [LENGTH]) and "smaller model" not in text


def test_where_there_is_room_nothing_is_advised():
    assert "fit-changes" not in fit_text(took(), CARD, [BATCH])
    tight = fit_text(took(weights=5.0), CARD, [LENGTH])
    assert suggested(tight) == [("length 2,048 → 1,024", "0.75 GiB")] and "smaller model" not in tight
    assert "fit-changes" not in fit_text(took(weights=5.0), CARD)


def test_what_the_figures_are_based_on():
    assert '<p class="fit-basis">Measured. The longest row has 9 tokens.</p>' in fit_text(
        took(), CARD, basis=["Measured.", "", "The longest row has 9 tokens."]
    )
    assert "fit-basis" not in fit_text(took(), CARD, basis=["", ""])


def test_what_others_wrote_is_text():
    change = BATCH.model_copy(update={"words": "<i>"})
    text = fit_text(took(weights=9.0), Card(name="<b>", memory_gib=8), [change], [change], ["<s>"], "<u>")
    assert "<i>" not in text and "&lt;s&gt;" in text
    assert "the &lt;b&gt;" in text and ">&lt;i&gt;</button>" in text and "&lt;u&gt;" in text
    assert "of &lt;b&gt; is not" in fetch_text("<b>")


@pytest.mark.parametrize(
    ("gib", "text"),
    [(23.46, "23.5 GiB"), (0.96, "1.0 GiB"), (0.5, "0.50 GiB"), (0.01, "10 MiB"), (0.0007, "0.72 MiB")],
)
def test_sizes_have_the_digits_that_an_estimate_knows(gib, text):
    assert size(gib) == text


def finished(
    peak: float, estimated: float | None, probed: float | None = None, corrected: float | None = None, length: int = 0
) -> Snapshot:
    done = Finished(
        steps=60, runtime_s=60, tokens_per_s=100, peak_memory_gib=peak, peak_memory_for_training_gib=1,
        total_memory_gib=12,
    )  # fmt: skip
    figures = (
        {"comparable_gib": corrected, "before_probe_gib": estimated} if corrected else {"comparable_gib": estimated}
    )
    said = Estimated(total_gib=9, parts={}, **figures) if estimated else None
    measured = Probed(peak_gib=probed, seconds_per_step=1, length=length) if probed else None
    return Snapshot(finished=done, estimated=said, probed=measured)


@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        (finished(5.8, 5.92, 5.7), "estimated 5.92 GiB · probed 5.70 GiB · measured 5.80 GiB (estimate 2% high)"),
        (finished(5.0, 4.5), "estimated 4.50 GiB · measured 5.00 GiB (estimate 10% low)"),
        (finished(5.0, 5.01), "estimated 5.01 GiB · measured 5.00 GiB (estimate within 1%)"),
        (
            finished(5.8, 5.92, 5.7, None, 512),
            "estimated 5.92 GiB · probed 5.70 GiB on rows of 512 tokens · measured 5.80 GiB (estimate 2% high)",
        ),
        (
            finished(0.84, 0.78, 0.71, 0.71),
            "estimated 0.78 GiB · probed 0.71 GiB · measured 0.84 GiB (estimate 7% low)",
        ),
        (finished(5.0, None), ""),
        (Snapshot(estimated=Estimated(total_gib=1, comparable_gib=1, parts={})), ""),
    ],
)
def test_estimate_probe_and_reality_are_in_one_row(snapshot, text):
    assert memory_text(snapshot) == text


RECORD = ProbeRecord(
    machine="RTX", total_gib=8, model=("owner/<m>", None, True, "auto"), length=2048,
    settings={"training.per_device_train_batch_size": 2},
    estimate=took(), peak_gib=5.75, seconds_per_step=1.5, steps=60,
)  # fmt: skip


def test_a_probe_says_what_it_measured_and_what_that_means():
    text = probing_text(Probing(record=RECORD))
    assert text.startswith('<p class="notice good" role="status">owner/&lt;m&gt;: ') and text.count("<p") == 1
    for figure in ("2,048 tokens", "2 at once", "5.75 GiB (estimated 6.00 GiB)", "1.50 s", "60 steps", "1:30"):
        assert figure in text, figure
    assert "corrected" in text
    one = RECORD.model_copy(update={"settings": {"training.per_device_train_batch_size": 1}, "steps": 0})
    text = probing_text(Probing(record=one, note="It could not be kept."))
    assert "one row of 2,048 tokens" in text and "at once" not in text and "60" not in text
    assert text.endswith('<p class="notice warning" role="status">It could not be kept.</p>')
    assert "corrected" not in text, "only a record that is kept corrects estimates"


def test_a_search_shows_each_try_and_puts_what_it_found_into_the_form():
    tried = ((1, 4.0), (2, 5.0), (4, None))
    text = probing_text(Probing(doing="Trying <4>", tried=tried[:2]))
    assert text.startswith('<p class="busy" role="status">Trying &lt;4&gt;…</p><p class="fit-basis">')
    assert "batch 1 takes 4.00 GiB, batch 2 takes 5.00 GiB." in text
    text = found_text(BatchFound(batch=2, accumulation=4, tried=tried, headroom=0.2), RECORD)
    for figure in ("owner/&lt;m&gt;: ", "20% of the memory free is 2;", "accumulation 4 ", "8 rows"):
        assert figure in text, figure
    assert "batch 1 takes 4.00 GiB, batch 2 takes 5.00 GiB, batch 4 does not fit." in text
    assert settings(text) == [["training.per_device_train_batch_size=2", "training.gradient_accumulation_steps=4"]]
    assert "Use batch 2 with accumulation 4</button>" in text and "raise Accumulation" not in text
    all_rows = probing_text(
        Probing(found=BatchFound(batch=8, accumulation=1, tried=((8, 5.0),), headroom=0.1), record=RECORD)
    )
    assert all_rows.count('class="notice good"') == 2, "the batch and its probe"
    assert "raise Accumulation" in all_rows


def test_a_probe_that_failed_says_why_and_before_any_it_says_what_it_is():
    assert probing_text(Probing(error="The card's memory is full <b>.")) == (
        '<p class="notice error" role="status">The card&#39;s memory is full &lt;b&gt;.</p>'
    )
    for nothing_yet in (Probing(), Probing(tried=((1, 4.0),))):  # the second was stopped
        text = probing_text(nothing_yet)
        assert text.startswith('<p class="fit-basis">') and text.count("<") == 2


@pytest.mark.parametrize(("seconds", "text"), [(0.254, "0.25 s"), (42.4, "42 s"), (125, "2:05")])
def test_the_pace_of_a_step(seconds, text):
    assert pace(seconds) == text


def test_the_sidebar_has_the_estimate_while_the_run_goes_on():
    machine = Machine(name="RTX", is_gpu=False, total_gib=8)
    memory = MemoryStats(total_gib=8, in_use_gib=2, available_gib=6, process_gib=1, peak_process_gib=1)
    run = Snapshot(status="training", estimated=Estimated(total_gib=6, comparable_gib=5.5, parts={}))
    assert "<dt>run, estimated</dt><dd>5.50 GiB</dd>" in machine_text(machine, memory, run)
    for other in (None, Snapshot(status="training"), run.model_copy(update={"status": "completed"})):
        assert "estimated" not in machine_text(machine, memory, other)


def test_the_most_that_fits_is_one_click_away():
    text = fit_text(took(), CARD, most=Largest(length=4096, batch=3))
    assert settings(text) == [["model.max_seq_length=4096"], ["training.per_device_train_batch_size=3"]]
    assert "Maximum length 4,096</button>" in text and "Batch size 3" in text
    whole = fit_text(
        took(), CARD, most=Largest(length=8192, batch=None, length_is_whole=True), time="It takes <a day>."
    )
    assert "Maximum length 8,192, all that the model can read" in whole and len(settings(whole)) == 1
    assert '<p class="fit-time">It takes &lt;a day&gt;.</p>' in whole
    assert "fit-most" not in fit_text(took(), CARD, most=Largest(length=None, batch=None))
    sized = fit_text(took(), Card(name="a card of 10GB", memory_gib=10))
    assert "; a card of 10GB has" in plain(sized) and "; the RTX 3050 8GB has" in plain(text)
