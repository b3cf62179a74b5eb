"""Base and tuned on validation rows, compared with the same figures computed the slow and plain way."""

import dataclasses

import pytest

from core.data.prepared.prepare import prepare
from core.data.prepared.tokens import UNTRAINED
from core.evaluation.heldout import MAX_ROWS, measure_heldout
from core.model.views import base_view, for_inference
from tests.conftest import data_file, greedy_text


def plain_loss(loaded, example, base: bool) -> float:
    """Mean negative log likelihood of the trained tokens of one row."""
    import torch

    with torch.inference_mode(), for_inference(loaded):
        ids = torch.tensor([example.input_ids])
        if base:
            with base_view(loaded):
                logits = loaded.model(input_ids=ids, use_cache=False).logits
        else:
            logits = loaded.model(input_ids=ids, use_cache=False).logits
    likely = logits[0].float().log_softmax(-1)
    losses = [-likely[at - 1, label] for at, label in enumerate(example.labels) if at and label != -100]
    return float(sum(losses) / len(losses))


def test_the_losses_of_a_row(trained):
    example = trained.data.validation[0]
    measured = measure_heldout(trained.loaded, [example], lambda: False)
    assert measured.rows == 1
    assert measured.base_loss == pytest.approx(plain_loss(trained.loaded, example, base=True), rel=1e-5)
    assert measured.tuned_loss == pytest.approx(plain_loss(trained.loaded, example, base=False), rel=1e-5)
    assert measured.tuned_loss < measured.base_loss


def test_many_rows_in_batches(trained):
    examples = [*trained.data.train, *trained.data.validation][:11]  # one batch of 8, and one of 3
    told = []
    measured = measure_heldout(trained.loaded, examples, lambda: False, lambda *so_far: told.append(so_far))
    assert told == [(side, done, 11) for side in ("the base", "the tuned model") for done in (0, 8, 11)]
    assert measured.rows == 11
    for base, loss in ((True, measured.base_loss), (False, measured.tuned_loss)):
        weights = [sum(label != -100 for label in example.labels) for example in examples]
        parts = [plain_loss(trained.loaded, example, base) * n for example, n in zip(examples, weights, strict=True)]
        # Rounding in 16-bit differs with the batch; a wrong row or a shifted label would be off by far more.
        assert loss == pytest.approx(sum(parts) / sum(weights), rel=0.03)


def test_right_answers_and_ends_are_counted(trained, in_float32):
    examples = trained.data.train
    measured = measure_heldout(in_float32, examples, lambda: False)
    decode = in_float32.tokenizer.decode
    questions = [decode(e.input_ids[: e.labels.count(UNTRAINED)]) for e in examples]
    answers = [greedy_text(in_float32, question, 32) for question in questions]
    assert measured.tuned_exact == sum(answer.strip() == "the cat" for answer in answers) / len(examples) > 0
    assert measured.tuned_ends == 1.0
    assert (measured.base_exact, measured.base_ends) == (0.0, 0.0)


def test_an_untrained_adapter_measures_as_the_base(trained):
    from tests.conftest import load_for

    measured = measure_heldout(load_for(trained.config), trained.data.validation, lambda: False)
    assert measured.base_loss == measured.tuned_loss
    assert (measured.base_exact, measured.base_ends) == (measured.tuned_exact, measured.tuned_ends)


def test_the_last_answer_of_a_chat_is_asked_for(trained, tmp_path):
    turns = [("user", "Say red."), ("assistant", "a dog"), ("user", "Say blue."), ("assistant", "the cat")]
    config = data_file(tmp_path / "a.jsonl", {"messages": [{"role": r, "content": c} for r, c in turns]})
    config.prompt_template = "alpaca"
    (example,) = prepare(config, trained.loaded.tokenizer, 512, True).train
    measured = measure_heldout(trained.loaded, [example], lambda: False)
    begins = max(place for place, label in enumerate(example.labels) if label == UNTRAINED) + 1
    question = trained.loaded.tokenizer.decode(example.input_ids[:begins])
    answer = greedy_text(trained.loaded, question, 32).strip()
    assert question.endswith("### Response:\n") and question.count("### Response:") == 2
    assert measured.tuned_exact == float(answer == "the cat")


def test_plain_text_has_losses_and_nothing_to_answer(trained, tmp_path):
    rows = prepare(data_file(tmp_path / "a.jsonl", {"text": "Once upon a time"}), trained.loaded.tokenizer, 64, True)
    measured = measure_heldout(trained.loaded, rows.train, lambda: False)
    assert measured.base_loss == pytest.approx(plain_loss(trained.loaded, rows.train[0], base=True), rel=1e-5)
    assert [getattr(measured, f"{model}_{what}") for model in ("base", "tuned") for what in ("exact", "ends")] == [
        None
    ] * 4


def test_cut_rows_are_left_out_and_no_more_than_64_are_asked(trained, monkeypatch):
    row = trained.data.validation[0]
    cut = dataclasses.replace(row, cut_ids=[5])
    assert measure_heldout(trained.loaded, [cut], lambda: False) is None
    assert measure_heldout(trained.loaded, [], lambda: False) is None
    assert measure_heldout(trained.loaded, [cut, row], lambda: False).rows == 1
    assert MAX_ROWS == 64
    monkeypatch.setattr("core.evaluation.heldout.MAX_ROWS", 9)
    assert measure_heldout(trained.loaded, [row] * 11, lambda: False).rows == 9


@pytest.mark.parametrize("looks", [0, 1, 5])
def test_a_stop_gives_no_figures(trained, looks):
    calls = []

    def should_stop() -> bool:
        calls.append(None)
        return len(calls) > looks

    assert measure_heldout(trained.loaded, list(trained.data.train) * 3, should_stop) is None
    assert trained.loaded.model.training
