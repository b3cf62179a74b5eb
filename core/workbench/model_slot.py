"""The one model in memory: loaded, replaced, let go, the adapters on it, and how it stands for the page.

Knows nothing of locks or gradio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.model.adapters_on_base import FIRST, put_on, take_off
from core.model.device_memory import free_memory
from core.model.fingerprint import fingerprint
from core.model.load import load
from core.model.loaded_model import LoadedModel, ModelReport
from core.model.model_files import locate
from core.problems import ModelError, first_line
from core.runs.adapter_ref import BASE, Pane
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.stopping import ShouldStop, leave_if


@dataclass(frozen=True)
class ModelState:
    """The loaded model as the page shows it. `doing` is what is going on with it, `share` how far (0 to 1)."""

    report: ModelReport | None = None
    adapter: str = ""  # the id of the run whose adapter is on it
    step: int | None = None  # of the checkpoint that the adapter is from; None: the run's own at its end
    doing: str = ""
    share: float | None = None
    error: str = ""


@dataclass
class _On:
    """An adapter on the model: PEFT's name, where it is from, and what tells it from another that took its place there.

    Without `stamp` what was trained here; it is looked up when it is first asked for, once it is whole.
    """

    name: str
    folder: Path
    stamp: tuple[int, int] | None = None

    def is_on_disk(self) -> bool:
        """Whether what is on the model is still what lies in the folder; also when nothing lies there any more."""
        now = _stamp(self.folder)
        self.stamp = self.stamp or now
        return now in (None, self.stamp)


class ModelSlot:
    """Holds at most one model. `state` is replaced, never changed; `prompt_template` is that of the run on it."""

    def __init__(self):
        self.state = ModelState()
        self.loaded: LoadedModel | None = None
        self._on: dict[Pane, _On] = {}
        self._untouched_for: tuple | None = None  # settings of a new adapter on it that no run owns (`_begins_with`)
        self._token: str | None = None  # with which it was loaded; nowhere but in memory
        self._number = 1  # of the last name that was given to an adapter
        self.prompt_template = "chat"

    def load(
        self,
        config: ModelConfig,
        token: str | None,
        adapter_dir: Path | None = None,
        should_stop: ShouldStop = lambda: False,
        **kwargs,
    ) -> LoadedModel:
        """Loads the base, with an adapter when one is given, in place of what is there. Raises ModelError and Stopped."""
        before = self.state

        def report(text: str, share: float | None) -> None:
            leave_if(should_stop)
            self.state = ModelState(doing=text, share=share)

        try:
            report("Looking for the model", None)
            locate(config, token, report)  # a name that is not there must not cost the model that is
            before = ModelState()
            self.loaded, self._on, self._untouched_for = None, {}, None
            free_memory()
            loaded = load(config, token, adapter_dir, report, **kwargs)
            loaded.fingerprint = None if adapter_dir else _fingerprint(loaded)
            self.loaded, self._token = loaded, token
        except BaseException as error:
            self.state = replace(before, error=str(error) if isinstance(error, ModelError) else "")
            raise
        self.show()
        return self.loaded

    def load_adapter(self, config: RunConfig, pane: Pane, folder: Path, token: str | None) -> LoadedModel:
        """The base of a run, loaded unless it is there, with the adapter in `folder` alone on it. Raises ModelError."""
        if not self._may_stand_on(config.model):
            self.load(config.model, token)
        before = self.state, self.prompt_template
        self.show()  # none stands out, so that all but the new one are taken off
        try:
            self.put_on([pane], {pane: folder}.__getitem__)
        except BaseException:
            if self.loaded is not None:
                self.state, self.prompt_template = before
            raise
        self.show(pane, config.data.prompt_template)
        return self.loaded

    def _may_stand_on(self, config: ModelConfig) -> bool:
        """Whether the base that is there is the wanted one, long enough, and has a fingerprint that was not refuted."""
        loaded = self.loaded
        if loaded is None or loaded.fingerprint is None or loaded.is_doubtful or self._untouched_for:
            return False
        return loaded.config.base == config.base and loaded.config.max_seq_length >= config.max_seq_length

    def put_on(self, panes: Sequence[Pane], folder_of: Callable[[Pane], Path]) -> list[str | None]:
        """Puts these panes' adapters on the model, from where `folder_of` says, and takes off others, but for the one
        that it was loaded with. One that has changed on disk is put on anew. Returns PEFT's names of them, None for the
        base. Raises ModelError, and what `folder_of` raises."""
        if self._untouched_for:  # PEFT has no way to take off the only adapter; the base's files are on this machine
            self.load(self.loaded.config, self._token)
        main = Pane(self.state.adapter, self.state.step)
        wanted = [pane for pane in dict.fromkeys(panes) if not pane.is_base]
        kept = {*wanted, main} if wanted else set(self._on)
        self._take_off_all_but(kept)  # before others come: memory is short
        for pane in wanted:
            if pane in self._on and self._on[pane].is_on_disk():
                continue
            folder = self._on[pane].folder if pane in self._on else folder_of(pane)
            self._number += 1
            name = f"pane-{self._number}" if self.loaded.has_adapter else FIRST
            try:
                put_on(self.loaded, folder, name)
            except BaseException as error:
                if not self._on:  # what was begun cannot be taken off a base that has no other
                    self.let_go()
                    self.state = ModelState(error=str(error) if isinstance(error, ModelError) else "")
                raise
            if pane in self._on:
                take_off(self.loaded, self._on[pane].name)
            self._on[pane] = _On(name, folder, _stamp(folder))
        self._take_off_all_but(kept)
        return [None if pane.is_base else self._on[pane].name for pane in panes]

    def _take_off_all_but(self, kept: set[Pane]) -> None:
        for pane in [pane for pane in self._on if pane not in kept]:
            if len(self._on) > 1:  # PEFT cannot do without any
                take_off(self.loaded, self._on.pop(pane).name)

    def show(self, adapter: Pane = BASE, prompt_template: str = "chat") -> None:
        """Says whose adapter stands out, the base's own being none, and how that run wrote its prompts."""
        self.state = ModelState(report=self.loaded.report, adapter=adapter.run_id, step=adapter.step)
        self.prompt_template = prompt_template

    def ready_for(self, config: RunConfig) -> LoadedModel | None:
        """The model when a run of these settings may begin on it: the right one, without an adapter, or with a new one
        of just these settings that a probe left as it was; else None."""
        loaded = self.loaded
        if loaded is None or loaded.config != config.model or config.adapter.continue_from:
            return None
        return loaded if loaded.is_pristine or self._untouched_for == _begins_with(config) else None

    def show_untouched(self, config: RunConfig) -> None:
        """Says that the adapter on the model is a new one of these settings, which no run owns."""
        self._untouched_for = _begins_with(config)

    def show_trained(self, run_id: str, folder: Path, prompt_template: str) -> None:
        """Says that the adapter that is being trained on the model is that run's, to be kept in `folder`."""
        self._untouched_for = None
        self._on = {Pane(run_id): _On(FIRST, folder)}
        self.show(Pane(run_id), prompt_template)

    def let_go_of_an_unknown(self) -> None:
        """A model with an adapter that is no run's, left by a run that did not get to training: of no use to anyone."""
        if self.loaded is not None and self.loaded.has_adapter and not self._on and not self._untouched_for:
            self.let_go()

    def let_go(self) -> None:
        self.loaded, self._on, self._untouched_for = None, {}, None
        self.state = ModelState()
        free_memory()

    def is_loaded(self, config: ModelConfig) -> bool:
        loaded = self.loaded
        return loaded is not None and (loaded.config.model_name, loaded.config.revision) == (
            config.model_name,
            config.revision,
        )

    def loaded_for(self, config: RunConfig) -> LoadedModel:
        """The loaded model, for its tokenizer. Raises ModelError when it is another than the settings name."""
        loaded = self.loaded
        if loaded is None or not self.is_loaded(config.model):
            raise ModelError(
                f"Load {config.model.model_name} first, on the Model tab: its tokenizer decides what it sees."
            )
        return loaded


def _begins_with(config: RunConfig) -> tuple:
    """What decides how a new adapter stands on the model."""
    return config.adapter, config.training.use_gradient_checkpointing, config.training.seed


def _fingerprint(loaded: LoadedModel) -> str:
    """Raises ModelError when the model cannot even do that: better now than in the middle of a run."""
    try:
        return fingerprint(loaded)
    except Exception as error:
        raise ModelError(f"{loaded.config.model_name} was loaded, but does not work: {first_line(error)}.") from error


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Tells the adapter in a folder from one that took its place; None when there is none."""
    try:
        found = (folder / "adapter_model.safetensors").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
