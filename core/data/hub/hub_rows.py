"""Rows of a Hugging Face data set, by the `datasets` library. Knows nothing of models or gradio.

The library takes whatever lies in its cache when anything fails, another revision too. So the hub is asked first which
commit is meant, and rows of any other commit are refused.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.data.hub.hub_cache import find_in_cache
from core.data.hub.hub_lookup import Found, checked_token, gated, look_up
from core.data.rows import Row
from core.problems import DataError
from core.settings.sections import DataConfig

if TYPE_CHECKING:  # importing these takes a second, which the page should not wait for
    from datasets import Dataset, DatasetBuilder

BATCH = 1000
PARQUET_BRANCH = "refs/convert/parquet"  # where the hub keeps its own copy of the rows of most public sets
BY_HAND = "download its files and choose their folder"


class HubRows:
    """Rows of a loaded data set; each iteration begins anew. `share` tells how far the last one is (0 to 1)."""

    wants_splitting = False

    def __init__(self, dataset: "Dataset", name: str, notes: tuple[str, ...] = ()):
        self._name, self._total, self._at = name, len(dataset), 0
        self._dataset, left_aside = _without_media(dataset, name)
        self.notes = (f"{_rows(len(dataset))} of the split {dataset.split} from Hugging Face", *notes, *left_aside)

    @property
    def share(self) -> float:
        return self._at / self._total

    def __iter__(self) -> Iterator[Row]:
        number = 0
        names = self._dataset.column_names
        for batch in self._dataset.iter(BATCH):
            for values in zip(*(batch[name] for name in names), strict=True):
                self._at = number = number + 1
                yield Row(number, f"row {number} of {self._name}", dict(zip(names, values, strict=True)))


def open_hub(config: DataConfig, token: str | None) -> HubRows:
    """The rows of a data set, downloaded where they are not in the cache yet. Raises DataError.

    Without a connection they come from the cache, if it holds the revision and the configuration that are asked for.
    """
    token = checked_token(token)
    config = config.model_copy(update={"path": config.path.strip()})
    found = look_up(config, token)
    if found is None:
        name, builder = config.path, find_in_cache(config)
        notes = ("taken from the cache of this machine, as Hugging Face cannot be reached",)
    else:
        name, builder = found.name, _builder(config, found, token)
        notes = (f"{config.path} is now called {name}",) if name != config.path else ()
    if builder.config.name != "default":
        notes = (f"configuration {builder.config.name}", *notes)
    _check_split(config, name, builder)
    _prepare(name, builder)
    return HubRows(_part(config, name, builder), name, notes)


def _builder(config: DataConfig, found: Found, token: str | None) -> "DatasetBuilder":
    """The library's reader of one configuration. Raises DataError."""
    import datasets
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError

    if found.has_script:
        raise DataError(
            f"{found.name} is read by a program of its own, which never runs here; try the revision {PARQUET_BRANCH}, "
            "where Hugging Face may keep its rows."
        )
    # With this in front, no folder of this machine and no kind of file can be meant by the name.
    path, arguments = f"hf://datasets/{found.name}", {"revision": config.revision or None, "token": token}
    try:
        builder = datasets.load_dataset_builder(path, config.name or None, **arguments)
    except DatasetNotFoundError:  # it can be seen, its files cannot
        raise gated(found.name) from None
    except (DataFilesNotFoundError, EmptyDatasetError):
        raise DataError(f"{found.name} holds no files that rows can be read from; choose another data set.") from None
    except FileNotFoundError as error:
        if error.errno is not None:  # on this machine
            raise _refusal(found.name, error) from error
        raise DataError(f"The README of {found.name} names files that are not there; {BY_HAND}.") from None
    except ValueError as error:
        names = datasets.get_dataset_config_names(path, **arguments) if "onfig" in str(error) else []
        if config.name and config.name not in names and names == ["default"]:
            raise DataError(f"{found.name} has no configurations to choose from; leave it empty.") from None
        if names and config.name not in names:
            lacks = f"has no configuration {config.name!r}" if config.name else "has several configurations"
            raise DataError(f"{found.name} {lacks}; choose one of {_listed(names)}.") from None
        raise _refusal(found.name, error) from error
    except Exception as error:  # the library raises a dozen kinds; each becomes a sentence, none is hidden
        raise _refusal(found.name, error) from error
    if builder.hash != found.commit:
        raise DataError(
            f"{found.name} cannot be loaded as it now stands on Hugging Face; this machine still has what it was, as "
            f"the revision {builder.hash}."
        )
    return builder


def _check_split(config: DataConfig, name: str, builder: "DatasetBuilder") -> None:
    """Raises DataError for a split that is not there, before anything is downloaded."""
    known = list(builder.info.splits or builder.config.data_files or ())
    asked = {part.partition("[")[0].strip() for part in config.split.split("+")}
    if known and not asked <= {*known, "all"}:
        raise DataError(f"{name} has no split {config.split!r}; choose one of {_listed(known)}.")


def _prepare(name: str, builder: "DatasetBuilder") -> None:
    """Downloads the files and keeps them as a table, where that was not done before. Raises DataError."""
    from datasets.exceptions import DatasetGenerationCastError, DatasetGenerationError, SplitsVerificationError
    from datasets.table import CastError

    try:
        builder.download_and_prepare()
    except SplitsVerificationError:
        raise DataError(f"{name} has other rows than its README promises; {BY_HAND}.") from None
    except DatasetGenerationError as error:
        cause = error.__cause__ or error
        if isinstance(error, DatasetGenerationCastError) or isinstance(cause, CastError):
            raise DataError(f"The files of {name} differ in their columns, so are no one table; {BY_HAND}.") from None
        raise _refusal(name, cause) from error
    except Exception as error:  # as above
        raise _refusal(name, error) from error


def _part(config: DataConfig, name: str, builder: "DatasetBuilder") -> "Dataset":
    """The rows of the split, or of the part of it that is asked for. Raises DataError."""
    try:
        dataset = builder.as_dataset(config.split)
    except (ValueError, AssertionError):  # no such part, an empty one, or one that is not understood
        dataset = None
    if not dataset:
        splits = [f"{split} ({_rows(info.num_examples)})" for split, info in builder.info.splits.items()]
        raise DataError(
            f"{name} has no rows in {config.split!r}; it has {_listed(splits)}, and a part is written train[:10%]."
        )
    return dataset


def _without_media(dataset: "Dataset", name: str) -> tuple["Dataset", tuple[str, ...]]:
    """Pictures and sounds are left aside unopened: they take a library and memory each, and nothing is learned from them."""
    aside = [column for column, feature in dataset.features.items() if _is_media(feature)]
    if len(aside) == len(dataset.features):
        raise DataError(f"{name} has pictures or sounds only ({_listed(aside)}); choose a data set with text.")
    note = f"left aside: {_listed(aside)}, as pictures and sounds are not read"
    return (dataset.remove_columns(aside), (note,)) if aside else (dataset, ())


def _is_media(feature) -> bool:
    from datasets import Json, LargeList, List

    if isinstance(feature, dict):
        return any(map(_is_media, feature.values()))
    if isinstance(feature, List | LargeList):
        return _is_media(feature.feature)
    return hasattr(feature, "decode_example") and not isinstance(feature, Json)


def _refusal(name: str, error: BaseException) -> DataError:
    import httpx

    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".!")
    if isinstance(error, httpx.HTTPError | ConnectionError):
        return DataError(f"{name} could not be fetched: the connection broke; check the network and try again.")
    if isinstance(error, OSError) and (error.errno is not None or first.startswith("Not enough disk space")):
        reason = f"{error.strerror or first}; see that there is room and that the cache may be written"
        return DataError(f"{name} could not be kept on this disk: {reason}.")
    return DataError(f"{name} cannot be read ({first:.200}); {BY_HAND}.")


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
