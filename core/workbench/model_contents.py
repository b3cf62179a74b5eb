"""What the one model in memory is, as explicit states.

    Empty              nothing is loaded
    Base               a base model on which no adapter ever was
    FreshAdapter       a base with a new adapter of known settings into which nothing was trained
    UnclaimedAdapter   a base with an adapter that belongs to no run: only the work that put it there can use it
    RunAdapters        a base with adapters of runs, of which one may be the main one

Each state is frozen. A transition is a method that returns the next state, and only states that have it allow it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from core.model.adapters_on_base import FIRST_ADAPTER
from core.model.loaded_model import LoadedModel
from core.runs.adapter_ref import BASE, Pane
from core.settings.run_config import RunConfig
from core.settings.sections import AdapterConfig

Stamp = tuple[int, int]


@dataclass(frozen=True)
class AdapterOnModel:
    """An adapter on the model: PEFT's `name` for it, the folder it is kept in, and a stamp of the file in there.

    `stamp` is None while training has yet to write that file.
    """

    name: str
    folder: Path
    stamp: Stamp | None

    @property
    def is_current(self) -> bool:
        """Whether the folder still has what is on the model; also true when the folder has no adapter any more."""
        return stamp_of(self.folder) in (None, self.stamp)


@dataclass(frozen=True)
class FreshSettings:
    """What decides how a new adapter is put on a base."""

    adapter: AdapterConfig
    use_gradient_checkpointing: str | bool
    seed: int

    @classmethod
    def of(cls, config: RunConfig) -> "FreshSettings":
        return cls(config.adapter, config.training.use_gradient_checkpointing, config.training.seed)


class Contents:
    """What all states have. `main` is the adapter that was loaded or trained, the base when there is none;
    `prompt_template` is the one of its run, `prompt_date` the day in that run's prompts, None for today."""

    main: ClassVar[Pane] = BASE
    prompt_template: ClassVar[str] = "chat"
    prompt_date: ClassVar[date | None] = None

    def can_start(self, config: RunConfig) -> bool:
        """Whether a run with these settings can start on the model as it is."""
        return False


@dataclass(frozen=True)
class Empty(Contents):
    loaded: ClassVar[None] = None


@dataclass(frozen=True)
class _WithModel(Contents):
    loaded: LoadedModel


@dataclass(frozen=True)
class _Startable(_WithModel):
    """A state in which a run can put its own adapter on the model, or take over the one that is there."""

    def can_start(self, config: RunConfig) -> bool:
        return self.loaded.config == config.model and not config.adapter.continue_from

    def trained_by(
        self, run: Pane, folder: Path, prompt_template: str, prompt_date: date | None = None
    ) -> "RunAdapters":
        """From now on the adapter on the model, there already or to come, is that run's, to be kept in `folder`."""
        adapter = AdapterOnModel(FIRST_ADAPTER, folder, stamp=None)
        return RunAdapters(self.loaded, {run: adapter}, run, prompt_template, prompt_date)


@dataclass(frozen=True)
class Base(_Startable):
    """Raises ValueError when the model has an adapter."""

    adapters: ClassVar[Mapping[Pane, AdapterOnModel]] = MappingProxyType({})

    def __post_init__(self):
        if self.loaded.has_adapter:
            raise ValueError("a base has no adapter")

    def with_fresh_adapter(self, config: RunConfig) -> "FreshAdapter":
        return FreshAdapter(self.loaded, FreshSettings.of(config))

    def with_unclaimed_adapter(self) -> "UnclaimedAdapter":
        return UnclaimedAdapter(self.loaded)

    def with_adapter(self, pane: Pane, adapter: AdapterOnModel) -> "RunAdapters":
        return RunAdapters(self.loaded, {pane: adapter})


@dataclass(frozen=True)
class FreshAdapter(_Startable):
    settings: FreshSettings

    def can_start(self, config: RunConfig) -> bool:
        return super().can_start(config) and self.settings == FreshSettings.of(config)


@dataclass(frozen=True)
class UnclaimedAdapter(_Startable):
    def can_start(self, config: RunConfig) -> bool:
        return False


@dataclass(frozen=True)
class RunAdapters(_WithModel):
    """At least one adapter, as PEFT's model cannot be without. `main` may be the base, or be off the model."""

    adapters: Mapping[Pane, AdapterOnModel]
    main: Pane = BASE
    prompt_template: str = "chat"
    prompt_date: date | None = None

    def __post_init__(self):
        if not self.adapters:
            raise ValueError("at least one adapter stays on the model")

    def with_adapter(self, pane: Pane, adapter: AdapterOnModel) -> "RunAdapters":
        return replace(self, adapters={**self.adapters, pane: adapter})

    def without(self, pane: Pane) -> "RunAdapters":
        return replace(self, adapters={other: on for other, on in self.adapters.items() if other != pane})

    def with_main(self, pane: Pane, prompt_template: str, prompt_date: date | None = None) -> "RunAdapters":
        """Raises ValueError when that adapter is not on the model."""
        if pane not in self.adapters:
            raise ValueError(f"{pane.key} is not on the model")
        return replace(self, main=pane, prompt_template=prompt_template, prompt_date=prompt_date)

    def written(self) -> "RunAdapters":
        """Training has written the main adapter into its folder."""
        adapter = self.adapters[self.main]
        return self.with_adapter(self.main, replace(adapter, stamp=stamp_of(adapter.folder)))


def stamp_of(folder: Path) -> Stamp | None:
    """Distinguishes the adapter in a folder from one that replaces it; None when there is none."""
    try:
        found = (folder / "adapter_model.safetensors").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
