"""The page's actions under stable names, for gradio_client: /load_model, /start, /stop, /snapshot, /compare.

They do what the page's buttons do, and answer in plain values. Settings are `part.field=value`, as on the command
line, on top of a preset. What cannot be done raises an error with one sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from core.config import ConfigError, RunConfig
from core.presets import find_preset
from core.workbench import SENTENCES, Busy, Workbench
from ui.compare_tab import make_sampling


def add_api(workbench: Workbench, preset_of_this_machine: str) -> None:
    """Adds the five names to the Blocks that is being built."""

    def chosen(preset: str, settings: list[str]) -> tuple[str, RunConfig]:
        found = find_preset(preset or preset_of_this_machine)
        return found.name, found.config.with_settings(settings)

    def load_model(preset: str = "", settings: list[str] = [], token: str = "") -> dict:  # noqa: B006 gradio reads it
        """Loads the preset's model and tells what was loaded."""
        with _sentences():
            return workbench.load_model(chosen(preset, settings)[1].model, token).model_dump()

    def start(preset: str = "", settings: list[str] = [], token: str = "") -> dict:  # noqa: B006
        """Starts a run and returns at once; /snapshot tells how it goes."""
        with _sentences():
            name, config = chosen(preset, settings)
            run = workbench.start(config, name, token)
            return {"run_id": run.id, "run_dir": str(run.folder)}

    def stop() -> dict:
        """Stops the run that is going on, if any."""
        return {"stopping": workbench.stop()}

    def snapshot() -> dict:
        """The machine, the model and the run as they stand."""
        run, state = workbench.snapshot, workbench.model_state
        return {
            "machine": workbench.machine.model_dump(),
            "memory": workbench.memory().model_dump(),
            "model": state.report.model_dump() if state.report else None,
            "adapter": state.adapter,
            "busy_with": workbench.busy_with,
            "run": run.model_dump() if run else None,
        }

    def compare(
        prompt: str, system: str = "", temperature: float = 0.0, top_p: float = 1.0, max_new_tokens: int = 128, seed: int = 3407
    ) -> Iterator[dict]:
        """Base and tuned answer the prompt; the last value is complete."""
        with _sentences():
            sampling = make_sampling(temperature, top_p, max_new_tokens, seed)
            for base, tuned, difference in workbench.compare(prompt, system, sampling):
                yield {
                    "prompt": prompt,
                    "base": base.text,
                    "tuned": tuned.text if tuned else None,
                    "max_logit_difference": difference,
                }

    for action in (load_model, start, stop, snapshot, compare):
        gr.api(action, api_name=action.__name__)


@contextmanager
def _sentences():
    """What the program says to people goes to the client as it stands."""
    try:
        yield
    except (ConfigError, Busy, *SENTENCES) as error:
        raise gr.Error(str(error), print_exception=False) from None
