"""The one model in memory: loads it, replaces it, frees it, and puts adapters on it.

`ModelSlot.contents` is what it is (`core.workbench.model_contents`), `ModelSlot.state` what pages show. Whoever changes
the model does so at the desk (`core.workbench.desk`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from core.hub_names import Token
from core.model.adapters_on_base import FIRST_ADAPTER, put_on, take_off
from core.model.device_memory import free_memory
from core.model.fingerprint import fingerprint
from core.model.load import find_loadable, load
from core.model.loaded_model import LoadedModel, ModelReport
from core.problems import ModelError, first_line
from core.runs.adapter_ref import Pane
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.threads import ShouldStop, leave_if
from core.workbench.model_contents import (
    AdapterOnModel,
    Base,
    Contents,
    Empty,
    FreshAdapter,
    RunAdapters,
    UnclaimedAdapter,
    stamp_of,
)


@dataclass(frozen=True)
class ModelState:
    """The loaded model as pages show it. `doing` says what is happening to it, `share` how far that is (0 to 1)."""

    report: ModelReport | None = None
    adapter: str = ""  # the id of the run whose adapter was loaded or trained
    step: int | None = None  # the step of the checkpoint that the adapter is from; None for the run's final adapter
    doing: str = ""
    share: float | None = None
    error: str = ""


class ModelSlot:
    """At most one model. `contents` and `state` are replaced, never changed, so any thread may read them."""

    def __init__(self):
        self.contents: Contents = Empty()
        self.state = ModelState()
        self._token: Token = None  # the model was loaded with it; kept only in memory
        self._names_given = 1  # counts the names given to adapters; none is used twice

    @property
    def loaded(self) -> LoadedModel | None:
        return self.contents.loaded

    def _become(self, contents: Contents, error: str = "") -> None:
        loaded, main = contents.loaded, contents.main
        self.contents = contents
        self.state = ModelState(loaded and loaded.report, main.run_id, main.step, error=error)

    # Loading

    def load(
        self,
        config: ModelConfig,
        token: Token,
        adapter_dir: Path | None = None,
        should_stop: ShouldStop = lambda: False,
        **kwargs,
    ) -> LoadedModel:
        """Loads the base, with the adapter in `adapter_dir` if given, and replaces what is there.

        Raises ModelError and Stopped.
        """

        def report(text: str, share: float | None) -> None:
            leave_if(should_stop)
            self.state = ModelState(doing=text, share=share)

        try:
            find_loadable(config, token, report)  # what cannot be loaded must not cost the model that is loaded
            self.contents = Empty()
            free_memory()
            loaded = load(config, token, adapter_dir, report, **kwargs)
            loaded.fingerprint = None if adapter_dir else _fingerprint(loaded)
        except BaseException as error:
            self._become(self.contents, str(error) if isinstance(error, ModelError) else "")
            raise
        self._token = token
        self._become(UnclaimedAdapter(loaded) if adapter_dir else Base(loaded))
        return loaded

    def load_adapter(
        self, config: RunConfig, pane: Pane, folder: Path, token: Token, prompt_date: date | None = None
    ) -> LoadedModel:
        """Loads a run's base unless it is there, and puts the adapter in `folder` alone on it. Raises ModelError.

        `prompt_date` is the day in the run's prompts.
        """
        if not self._can_serve(config.model):
            self.load(config.model, token)
        self._put_on([pane], {pane: folder}.__getitem__, main=pane)
        self._become(self.contents.with_main(pane, config.data.prompt_template, prompt_date))
        return self.loaded

    def _can_serve(self, config: ModelConfig) -> bool:
        """Whether adapters for this base can be put on the model: long enough, and known to be unchanged."""
        loaded = self.loaded
        if not isinstance(self.contents, Base | RunAdapters) or loaded.fingerprint is None or loaded.is_doubtful:
            return False
        return loaded.config.base == config.base and loaded.config.max_seq_length >= config.max_seq_length

    def let_go(self, error: str = "") -> None:
        """Frees the model. `error` is what pages show as the reason."""
        self._become(Empty(), error)
        free_memory()

    # Adapters of runs

    def put_on(self, panes: Sequence[Pane], folder_of: Callable[[Pane], Path]) -> list[str | None]:
        """Puts these panes' adapters on the model, each from the folder that `folder_of` returns, and takes off others
        except the main one. One that has changed on disk is put on anew.

        Returns PEFT's names for them, None for the base. Raises ModelError, and what `folder_of` raises.
        """
        return self._put_on(panes, folder_of, self.contents.main)

    def _put_on(self, panes: Sequence[Pane], folder_of: Callable[[Pane], Path], main: Pane) -> list[str | None]:
        if not isinstance(self.contents, Base | RunAdapters):
            # PEFT cannot take off the only adapter. The base's files are on this machine.
            self.load(self.loaded.config, self._token)
        wanted = [pane for pane in dict.fromkeys(panes) if not pane.is_base]
        if wanted:
            self._take_off_all_but({*wanted, self.contents.main})  # first, because memory is short
        for pane in wanted:
            self._bring_up_to_date(pane, folder_of)
        if wanted:
            self._take_off_all_but({*wanted, main})
        return [None if pane.is_base else self.contents.adapters[pane].name for pane in panes]

    def _bring_up_to_date(self, pane: Pane, folder_of: Callable[[Pane], Path]) -> None:
        old = self.contents.adapters.get(pane)
        if old is not None and old.is_current:
            return
        folder = old.folder if old else folder_of(pane)
        self._names_given += 1
        name = f"pane-{self._names_given}" if self.loaded.has_adapter else FIRST_ADAPTER
        try:
            put_on(self.loaded, folder, name)
        except BaseException as error:
            if isinstance(self.contents, Base):  # a base that a first adapter was begun on cannot be put right
                self.let_go(str(error) if isinstance(error, ModelError) else "")
            raise
        if old is not None:
            take_off(self.loaded, old.name)
        self.contents = self.contents.with_adapter(pane, AdapterOnModel(name, folder, stamp_of(folder)))

    def _take_off_all_but(self, kept: set[Pane]) -> None:
        for pane, adapter in self.contents.adapters.items():
            if pane not in kept and len(self.contents.adapters) > 1:
                take_off(self.loaded, adapter.name)
                self.contents = self.contents.without(pane)

    # Training and probing

    def ready_for(self, config: RunConfig) -> LoadedModel | None:
        """The model if a run with these settings can start on it: the right base, without an adapter, or with a fresh
        one of just these settings that a probe left; else None."""
        return self.loaded if self.contents.can_start(config) else None

    def has_fresh_adapter(self, config: RunConfig) -> None:
        """Records that an adapter of these settings was put on the base, and that nothing was trained into it."""
        if not isinstance(self.contents, FreshAdapter):
            self._become(self.contents.with_fresh_adapter(config))

    def has_unclaimed_adapter(self) -> None:
        """Records that an adapter was put on the base which only this work can use."""
        if not isinstance(self.contents, UnclaimedAdapter):
            self._become(self.contents.with_unclaimed_adapter())

    def begin_training(self, run_id: str, folder: Path, prompt_template: str, prompt_date: date | None = None) -> None:
        """Records that the adapter on the model is from now on that run's, to be kept in `folder`."""
        self._become(self.contents.trained_by(Pane(run_id), folder, prompt_template, prompt_date))

    def end_training(self, run_id: str, is_saved: bool) -> None:
        """Records that the work on a run is over; `is_saved` is whether it wrote an adapter.

        Without one, what is on the model under the run's name is not its adapter, and the model is freed. So is one
        with an adapter that belongs to no run, left by a run that did not get as far as training.
        """
        is_trained = isinstance(self.contents, RunAdapters) and self.contents.main == Pane(run_id)
        if is_trained and is_saved:
            self._become(self.contents.written())
        elif is_trained:
            self.let_go()
        self.let_go_of_unclaimed()

    def let_go_of_unclaimed(self) -> None:
        """Frees a model with an adapter that belongs to no run, because nothing else can use it."""
        if isinstance(self.contents, UnclaimedAdapter):
            self.let_go()

    # Questions

    def is_loaded(self, config: ModelConfig) -> bool:
        """Whether this model is loaded with these tokens, in whatever precision and length."""
        if self.loaded is None:
            return False
        ours, theirs = ((one.model_name, one.revision, one.chat_template) for one in (self.loaded.config, config))
        return ours == theirs


def _fingerprint(loaded: LoadedModel) -> str:
    """Raises ModelError when the model cannot even do that: better now than in the middle of a run."""
    try:
        return fingerprint(loaded)
    except Exception as error:
        raise ModelError(
            "{model} was loaded, but does not work: {reason}.",
            model=loaded.config.model_name, reason=first_line(error),
        ) from error  # fmt: skip
