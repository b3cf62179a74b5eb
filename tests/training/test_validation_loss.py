"""The trainer's validation loss: the mean over all trained tokens, whatever the batch size."""

from dataclasses import dataclass, field

import pytest

from core.data.prepared.prepare import prepare
from core.data.prepared.tokens import UNTRAINED, Example
from core.evaluation.batched_answers import row_losses
from core.model.views import for_inference
from tests.conftest import data_file, load_for, small_config

ROWS = [
    {"instruction": f"Tell {n}", "output": "The cat sat. " * 20}
    if n % 2
    else {"instruction": f"Say {n}", "output": "?"}
    for n in range(7)
]


@dataclass
class GivenRows:
    """The part of PreparedData that the trainer uses."""

    examples: list[Example]
    validation: "GivenRows | None" = field(init=False)

    def __post_init__(self):
        self.validation = self

    @property
    def train(self) -> "GivenRows":
        return self

    def as_dataset(self, most: int | None = None):
        import datasets

        rows = self.examples[:most]
        return datasets.Dataset.from_dict({key: [getattr(row, key) for row in rows] for key in ("input_ids", "labels")})


def losses_of(loaded, config, data, folder, batches) -> list[float]:
    from core.training.trainer import build_trainer, take_apart

    found = []
    for batch in batches:
        trainer, _ = build_trainer(loaded, config.with_batch(batch, 1), data, folder, None)
        found.append(trainer.evaluate()["eval_loss"])
        take_apart(trainer, loaded)
    return found


@pytest.mark.parametrize("only_answers", [True, False])
def test_it_is_the_mean_over_all_trained_tokens(unsloth, stories, tmp_path, only_answers):
    data_file(tmp_path / "rows.jsonl", *ROWS)
    config = small_config(stories, tmp_path / "rows.jsonl", "model.max_seq_length=512")
    loaded = load_for(config)
    whole = config.data.model_copy(update={"validation_share": 0.0})
    examples = list(prepare(whole, loaded.tokenizer, 512, only_answers).train)
    # Nothing is predicted before the first token: this row has no loss, and alone in a batch it would be NaN.
    examples.append(Example(8, examples[0].input_ids[:9], [examples[0].input_ids[0], *[UNTRAINED] * 8], []))
    found = losses_of(loaded, config, GivenRows(examples), tmp_path, (1, 2, 3, 8))
    with for_inference(loaded):  # afterwards, because TRL rounds the trained embeddings
        sums, counts = zip(*row_losses(loaded, examples), strict=True)
    assert counts[-1] == 0 and (max(counts[:-1]) > 5 * min(counts[:-1]) or not only_answers)
    assert found == pytest.approx([sum(sums) / sum(counts)] * 4, rel=1e-6 if loaded.report.dtype == "float32" else 1e-3)


def test_rows_without_a_token_to_predict_have_no_loss(unsloth, stories, tmp_path):
    config = small_config(stories, tmp_path / "rows.jsonl")
    rows = GivenRows([Example(1, [5, 6, 7], [5, UNTRAINED, UNTRAINED], [])] * 3)
    assert losses_of(load_for(config), config, rows, tmp_path, (1, 2)) == [0.0, 0.0]
