"""The one model in memory: loaded, replaced, let go, and how it stands for the page. Knows nothing of locks or gradio."""

from dataclasses import dataclass, replace
from pathlib import Path

from core.config import ModelConfig, RunConfig
from core.hub import ModelError, locate
from core.model import LoadedModel, ModelReport, free_memory, load
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
            self.loaded = None
            free_memory()
            self.loaded = load(config, token, adapter_dir, report, **kwargs)
        except BaseException as error:
            self.state = replace(before, error=str(error) if isinstance(error, ModelError) else "")
            raise
        self.prompt_template = "chat"
        self.show()
        return self.loaded

    def show(self, adapter: str = "", step: int | None = None, prompt_template: str | None = None) -> None:
        """Says whose adapter is on the model, and how that run wrote its prompts."""
        self.state = ModelState(report=self.loaded.report, adapter=adapter, step=step)
        self.prompt_template = prompt_template or self.prompt_template

    def let_go(self) -> None:
        self.loaded = None
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
