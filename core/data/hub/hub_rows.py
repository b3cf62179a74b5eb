"""Rows of a Hugging Face dataset, loaded by the `datasets` library.

When anything fails, the library silently uses whatever its cache has, even another revision. So the hub is first asked
for the commit, and rows of any other commit are refused.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.data.display import first_names, for_display
from core.data.hub.hub_cache import find_in_cache
from core.data.hub.hub_lookup import HubDataset, gated, look_up
from core.data.rows import Row
from core.hub_names import Token, checked_token
from core.problems import DataError, ModelError, first_line, tr, trn
from core.settings.sections import DataConfig

if TYPE_CHECKING:  # importing these is slow, and the page should not wait for it
    from datasets import Dataset, DatasetBuilder

BATCH_ROWS = 1000
MAX_LISTED = 12  # names in a message
PARQUET_BRANCH = "refs/convert/parquet"  # where the hub has its own copy of the rows of most public datasets


class HubRows:
    """Rows of a loaded dataset; each iteration starts again. `share` is the progress of the newest one (0 to 1)."""

    wants_splitting = False
    warnings: tuple[str, ...] = ()
    encoding = ""  # a table, not text

    def __init__(self, dataset: "Dataset", name: str, notes: tuple[str, ...] = ()):
        self._name, self._total, self._at = name, len(dataset), 0
        self._dataset, media_notes = _without_media(dataset, name)
        read = trn(
            "{count:,} row of the split {split} from Hugging Face",
            "{count:,} rows of the split {split} from Hugging Face",
            len(dataset),
            split=dataset.split,
        )
        self.notes = (read, *notes, *media_notes)

    @property
    def share(self) -> float:
        return self._at / self._total

    def __iter__(self) -> Iterator[Row]:
        number = 0
        names = self._dataset.column_names
        for batch in self._dataset.iter(BATCH_ROWS):
            for values in zip(*(batch[name] for name in names), strict=True):
                self._at = number = number + 1
                place = tr("row {row} of {file}", row=number, file=self._name)
                yield Row(number, place, dict(zip(names, values, strict=True)))


def open_hub(config: DataConfig, token: Token) -> HubRows:
    """The rows of a dataset, downloaded if they are not in the cache. Raises DataError.

    Without a connection they come from the cache, if it has this revision and configuration.
    """
    try:
        token = checked_token(token)
    except ModelError as error:
        raise DataError(error.template, **error.values) from None
    config = config.model_copy(update={"path": config.path.strip()})
    hub_dataset = look_up(config, token)
    if hub_dataset is None:
        name, builder = config.path, find_in_cache(config)
        notes = (tr("from this machine's cache, because Hugging Face cannot be reached"),)
    else:
        name, builder = hub_dataset.name, _builder(config, hub_dataset, token)
        notes = (tr("{old} is now called {name}", old=config.path, name=name),) if name != config.path else ()
    if builder.config.name != "default":
        notes = (tr("configuration {name}", name=builder.config.name), *notes)
    _check_split(config, name, builder)
    _prepare(name, builder)
    return HubRows(_part(config, name, builder), name, notes)


def _builder(config: DataConfig, hub_dataset: HubDataset, token: Token) -> "DatasetBuilder":
    """The library's builder for one configuration. Raises DataError."""
    import datasets
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError

    if hub_dataset.has_script:
        raise DataError(
            "{dataset} is loaded by a script of its own, which this app never runs; try the revision {revision}, "
            "where Hugging Face may have its rows.",
            dataset=hub_dataset.name,
            revision=PARQUET_BRANCH,
        )
    # The prefix keeps the library from taking the name for a local folder or a kind of file.
    path, arguments = f"hf://datasets/{hub_dataset.name}", {"revision": config.revision or None, "token": token}
    try:
        builder = datasets.load_dataset_builder(path, config.name or None, **arguments)
    except DatasetNotFoundError:  # its page is public, its files are not
        raise gated(hub_dataset.name) from None
    except (DataFilesNotFoundError, EmptyDatasetError):
        raise DataError(
            "{dataset} has no files with rows that can be read; choose another dataset.", dataset=hub_dataset.name
        ) from None
    except FileNotFoundError as error:
        if error.errno is not None:  # a file of this machine, not of the dataset
            raise _refusal(hub_dataset.name, error) from error
        raise DataError(
            "The README of {dataset} names files that do not exist; download its files and choose their folder.",
            dataset=hub_dataset.name,
        ) from None
    except ValueError as error:
        names = datasets.get_dataset_config_names(path, **arguments) if "onfig" in str(error) else []
        if config.name and config.name not in names and names == ["default"]:
            raise DataError(
                "{dataset} has no configurations to choose from; leave the field empty.", dataset=hub_dataset.name
            ) from None
        if names and config.name not in names:
            raise _wrong_configuration(hub_dataset.name, config.name, names) from None
        raise _refusal(hub_dataset.name, error) from error
    except Exception as error:  # the library raises a dozen kinds; each becomes a DataError that quotes it
        raise _refusal(hub_dataset.name, error) from error
    if builder.hash != hub_dataset.commit:
        raise DataError(
            "The newest version of {dataset} cannot be loaded; to use the older one in this machine's cache, set the "
            "revision to {revision}.",
            dataset=hub_dataset.name,
            revision=builder.hash,
        )
    _refuse_foreign_files(hub_dataset.name, builder)
    return builder


def _refuse_foreign_files(name: str, builder: "DatasetBuilder") -> None:
    """Raises DataError when the README names files outside the dataset: of this machine, or of another site.

    The library would read them, so that whoever wrote the README could show them as rows.
    """
    for files in (builder.config.data_files or {}).values():
        for file in files:
            place = str(file).rpartition("::")[2]  # an archive is named after what is taken out of it
            if not place.startswith(f"hf://datasets/{name}@"):
                raise DataError(
                    "The README of {dataset} names a file that is not part of it, {file}; download its files and "
                    "choose their folder.",
                    dataset=name,
                    file=for_display(place),
                )


def _wrong_configuration(dataset: str, configuration: str | None, names: list[str]) -> DataError:
    if configuration:
        return DataError(
            "{dataset} has no configuration {configuration!r}; choose one of {names}.",
            dataset=dataset,
            configuration=configuration,
            names=first_names(names, MAX_LISTED),
        )
    return DataError(
        "{dataset} has several configurations; choose one of {names}.",
        dataset=dataset,
        names=first_names(names, MAX_LISTED),
    )


def _check_split(config: DataConfig, name: str, builder: "DatasetBuilder") -> None:
    """Raises DataError if the split does not exist, before anything is downloaded."""
    known = list(builder.info.splits or builder.config.data_files or ())
    asked = {part.partition("[")[0].strip() for part in config.split.split("+")}
    if known and not asked <= {*known, "all"}:
        raise DataError(
            "{dataset} has no split {split!r}; choose one of {splits}.",
            dataset=name,
            split=config.split,
            splits=first_names(known, MAX_LISTED),
        )


def _prepare(name: str, builder: "DatasetBuilder") -> None:
    """Downloads the files and converts them to a table, unless that is cached. Raises DataError."""
    from datasets.exceptions import DatasetGenerationCastError, DatasetGenerationError, SplitsVerificationError
    from datasets.table import CastError

    try:
        builder.download_and_prepare()
    except SplitsVerificationError:
        raise DataError(
            "{dataset} has other rows than its README says; download its files and choose their folder.", dataset=name
        ) from None
    except DatasetGenerationError as error:
        cause = error.__cause__ or error
        if isinstance(error, DatasetGenerationCastError) or isinstance(cause, CastError):
            raise DataError(
                "The files of {dataset} have different columns, so they are not one table; "
                "download its files and choose their folder.",
                dataset=name,
            ) from None
        raise _refusal(name, cause) from error
    except Exception as error:  # as above
        raise _refusal(name, error) from error


def _part(config: DataConfig, name: str, builder: "DatasetBuilder") -> "Dataset":
    """The rows of the split, or of a part of it such as train[:10%]. Raises DataError."""
    try:
        dataset = builder.as_dataset(config.split)
    except (ValueError, AssertionError):  # the part does not exist, is empty, or is not written correctly
        dataset = None
    if not dataset:
        splits = [
            trn("{split} ({count:,} row)", "{split} ({count:,} rows)", info.num_examples, split=split)
            for split, info in builder.info.splits.items()
        ]
        raise DataError(
            "{dataset} has no rows in {split!r}; it has {splits}, and a part is written as train[:10%].",
            dataset=name,
            split=config.split,
            splits=first_names(splits, MAX_LISTED),
        )
    return dataset


def _without_media(dataset: "Dataset", name: str) -> tuple["Dataset", tuple[str, ...]]:
    """The dataset without images and sounds, which cannot be trained on; opening them would need more libraries."""
    media = [column for column, feature in dataset.features.items() if _is_media(feature)]
    if not media:
        return dataset, ()
    names = first_names(media, MAX_LISTED)
    if len(media) == len(dataset.features):
        raise DataError(
            "{dataset} has only images or audio ({columns}); choose a dataset with text.", dataset=name, columns=names
        )
    return dataset.remove_columns(media), (
        tr("skipped: {columns}, because images and audio are not read", columns=names),
    )


def _is_media(feature) -> bool:
    from datasets import Json, LargeList, List

    if isinstance(feature, dict):
        return any(map(_is_media, feature.values()))
    if isinstance(feature, List | LargeList):
        return _is_media(feature.feature)
    return hasattr(feature, "decode_example") and not isinstance(feature, Json)


def _refusal(name: str, error: BaseException) -> DataError:
    import httpx

    reason = first_line(error)
    if isinstance(error, httpx.HTTPError | ConnectionError):
        return DataError(
            "{dataset} could not be downloaded because the connection failed; check the network and try again.",
            dataset=name,
        )
    if isinstance(error, OSError) and (error.errno is not None or reason.startswith("Not enough disk space")):
        return DataError(
            "{dataset} could not be saved on this disk ({reason}); check that there is space and that the cache folder "
            "is writable.",
            dataset=name,
            reason=error.strerror or reason,
        )
    return DataError(
        "{dataset} cannot be read ({reason}); download its files and choose their folder.", dataset=name, reason=reason
    )
