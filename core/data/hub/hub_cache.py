"""Hugging Face datasets that are already in the cache, for use without a connection."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import DataError
from core.settings.sections import DataConfig

if TYPE_CHECKING:  # importing it is slow, and the page should not wait for it
    from datasets import DatasetBuilder

COMMIT = re.compile(r"[0-9a-f]{40}")


def find_in_cache(config: DataConfig) -> "DatasetBuilder":
    """A builder for the cached rows of this revision and configuration. Raises DataError if they are not cached."""
    import datasets
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    *owner, name = config.path.split("/")
    root = Path(datasets.config.HF_DATASETS_CACHE).expanduser() / "___".join([*owner, camelcase_to_snakecase(name)])
    commit = _commit(config)
    cached = {folder.parts[-3]: folder for folder in root.glob(f"*/*/{commit}") if folder.is_dir()} if commit else {}
    wanted = config.name or _default(config, commit) or (next(iter(cached)) if len(cached) == 1 else "default")
    if wanted not in cached:
        raise DataError(
            "{dataset} could not be downloaded: Hugging Face cannot be reached, and the rows that you chose are not in "
            "this machine's cache; check the network and try again.",
            dataset=config.path,
        )
    version = cached[wanted].parts[-2]
    return Cache(repo_id=config.path, dataset_name=name, config_name=wanted, version=version, hash=commit)


def _commit(config: DataConfig) -> str | None:
    """The commit that the revision pointed to at the last contact with the hub; None if there was none."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    revision = config.revision or "main"
    if COMMIT.fullmatch(revision):
        return revision
    ref = Path(HF_HUB_CACHE, repo_folder_name(repo_id=config.path, repo_type="dataset"), "refs", revision)
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else ""
    return commit if COMMIT.fullmatch(commit) else None


def _default(config: DataConfig, commit: str | None) -> str | None:
    """The default configuration according to the cached README."""
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard, try_to_load_from_cache

    readme = commit and try_to_load_from_cache(config.path, "README.md", revision=commit, repo_type="dataset")
    if not isinstance(readme, str):
        return None
    return MetadataConfigs.from_dataset_card_data(DatasetCard.load(readme).data).get_default_config_name()
