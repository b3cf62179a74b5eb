"""Hugging Face data sets that were opened before, without the hub. Knows nothing of how they are downloaded."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import DataError
from core.settings.sections import DataConfig

if TYPE_CHECKING:  # importing it takes a second, which the page should not wait for
    from datasets import DatasetBuilder

COMMIT = re.compile(r"[0-9a-f]{40}")


def find_in_cache(config: DataConfig) -> "DatasetBuilder":
    """The library's reader of what the cache holds of that revision and configuration. Raises DataError."""
    import datasets
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    *owner, name = config.path.split("/")
    root = Path(datasets.config.HF_DATASETS_CACHE).expanduser() / "___".join([*owner, camelcase_to_snakecase(name)])
    commit = _commit(config)
    kept = {folder.parts[-3]: folder for folder in root.glob(f"*/*/{commit}") if folder.is_dir()} if commit else {}
    wanted = config.name or _default(config, commit) or (next(iter(kept)) if len(kept) == 1 else "default")
    if wanted not in kept:
        raise DataError(
            f"{config.path} could not be fetched: Hugging Face does not answer, and this machine has not kept what is "
            "asked for; check the network and try again."
        )
    version = kept[wanted].parts[-2]
    return Cache(repo_id=config.path, dataset_name=name, config_name=wanted, version=version, hash=commit)


def _commit(config: DataConfig) -> str | None:
    """The commit that the revision meant when the hub was last asked; None when it never was."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    revision = config.revision or "main"
    if COMMIT.fullmatch(revision):
        return revision
    ref = Path(HF_HUB_CACHE, repo_folder_name(repo_id=config.path, repo_type="dataset"), "refs", revision)
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else ""
    return commit if COMMIT.fullmatch(commit) else None


def _default(config: DataConfig, commit: str | None) -> str | None:
    """The configuration that the README calls the default one."""
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard, try_to_load_from_cache

    readme = commit and try_to_load_from_cache(config.path, "README.md", revision=commit, repo_type="dataset")
    if not isinstance(readme, str):
        return None
    return MetadataConfigs.from_dataset_card_data(DatasetCard.load(readme).data).get_default_config_name()
