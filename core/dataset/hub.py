"""Rows of a Hugging Face data set, by the `datasets` library. Knows nothing of models or gradio."""

from collections.abc import Iterator
from typing import Any

from core.config import DataConfig
from core.dataset.rows import DataError, Row

BATCH = 1000


class HubRows:
    """Rows of a loaded data set; each iteration begins anew. `share` tells how far the last one is (0 to 1)."""

    wants_splitting = False

    def __init__(self, dataset, name: str):
        self._dataset, self._name = dataset, name
        self.notes = (f"{len(dataset):,} rows of the split {dataset.split} from Hugging Face",)
        self.share = 0.0

    def __iter__(self) -> Iterator[Row]:
        names, number, total = self._dataset.column_names, 0, len(self._dataset)
        for batch in self._dataset.iter(BATCH):
            for values in zip(*(batch[name] for name in names), strict=True):
                number += 1
                yield Row(number, f"row {number} of {self._name}", dict(zip(names, values, strict=True)))
            self.share = number / total


def open_hub(config: DataConfig, token: str | None) -> HubRows:
    """Downloads the data set, or takes it from the cache. Raises DataError with the library's own words."""
    import datasets

    arguments: dict[str, Any] = {"split": config.split, "revision": config.revision, "token": token}
    try:
        dataset = datasets.load_dataset(config.path, config.name, **arguments)
    except Exception as error:  # the library raises a dozen kinds; each becomes a sentence, none is hidden
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(f"The data set {config.path} cannot be loaded from Hugging Face: {first}.") from error
    return HubRows(dataset, config.path)
