"""The one model in memory: loaded, replaced, let go, the adapters on it, and how it stands for the page.

Knows nothing of locks or gradio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.adapters import FIRST, put_on, take_off
from core.config import ModelConfig, RunConfig
from core.hub import ModelError, locate
from core.model import LoadedModel, ModelReport, free_memory, load
from core.panes import BASE, Pane
from core.proof import fingerprint
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


class ModelSlot:
    """Holds at most one model. `state` is replaced, never changed; `prompt_template` is that of the run on it."""

    def __init__(self):
        self.state = ModelState()
        self.loaded: LoadedModel | None = None
        self.adapters: dict[Pane, str] = {}  # those on the model, and PEFT's names of them
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
            self.loaded, self.adapters = None, {}
            free_memory()
            loaded = load(config, token, adapter_dir, report, **kwargs)
            loaded.fingerprint = None if adapter_dir else fingerprint(loaded)
            self.loaded = loaded
        except BaseException as error:
            self.state = replace(before, error=str(error) if isinstance(error, ModelError) else "")
            raise
        self.show()
        return self.loaded

    def load_adapter(self, config: RunConfig, pane: Pane, folder: Path, token: str | None) -> LoadedModel:
        """The base of a run, loaded unless it is there, with the adapter in `folder` alone on it. Raises ModelError."""
        loaded = self.loaded
        is_there = loaded is not None and same_base(loaded.config, config.model)
        if not is_there or loaded.config.max_seq_length < config.model.max_seq_length:
            self.load(config.model, token)
        self.show()  # none stands out, so that all but the new one are taken off
        self.put_on([pane], {pane: folder}.__getitem__)
        self.show(pane, config.data.prompt_template)
        return self.loaded

    def put_on(self, panes: Sequence[Pane], folder_of: Callable[[Pane], Path]) -> None:
        """Puts these panes' adapters on the model, from where `folder_of` says, and takes off others, but for the one
        that it was loaded with. Raises ModelError, and what `folder_of` raises."""
        wanted = [pane for pane in panes if not pane.is_base]
        for pane in wanted:
            if pane in self.adapters:
                continue
            numbers = [int(name.partition("-")[2] or 1) for name in self.adapters.values()]
            name = f"pane-{max(numbers) + 1}" if numbers else FIRST
            folder = folder_of(pane)
            try:
                put_on(self.loaded, folder, name)
            except ModelError as error:
                if not self.adapters:  # what was begun cannot be taken off a base that has no other
                    self.let_go()
                    self.state = ModelState(error=str(error))
                raise
            self.adapters[pane] = name
        main = Pane(self.state.adapter, self.state.step)
        for pane in [*self.adapters] if wanted else ():
            if pane not in wanted and pane != main:
                take_off(self.loaded, self.adapters.pop(pane))

    def show(self, adapter: Pane = BASE, prompt_template: str = "chat") -> None:
        """Says whose adapter stands out, the base's own being none, and how that run wrote its prompts."""
        self.state = ModelState(report=self.loaded.report, adapter=adapter.run_id, step=adapter.step)
        self.prompt_template = prompt_template

    def show_trained(self, run_id: str, prompt_template: str) -> None:
        """Says that the adapter that was just trained on the model is that run's."""
        self.adapters = {Pane(run_id): FIRST}
        self.show(Pane(run_id), prompt_template)

    def let_go(self) -> None:
        self.loaded, self.adapters = None, {}
        self.state = ModelState()
        free_memory()

    def is_loaded(self, config: ModelConfig) -> bool:
        loaded = self.loaded
        return loaded is not None and (loaded.config.model_name, loaded.config.revision) == (config.model_name, config.revision)

    def loaded_for(self, config: RunConfig) -> LoadedModel:
        """The loaded model, for its tokenizer. Raises ModelError when it is another than the settings name."""
        loaded = self.loaded
        if loaded is None or not self.is_loaded(config.model):
            raise ModelError(f"Load {config.model.model_name} first, on the Model tab: its tokenizer decides what it sees.")
        return loaded


def same_base(one: ModelConfig, other: ModelConfig) -> bool:
    """Whether both settings load the same weights in the same precision."""
    fields = ("model_name", "revision", "load_in_4bit", "dtype")
    return all(getattr(one, field) == getattr(other, field) for field in fields)
