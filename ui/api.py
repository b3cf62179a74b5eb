"""The page's actions under stable names, for gradio_client: /load_model, /start, /stop, /resume, /snapshot, /compare.

They do what the page's buttons do, and answer in plain values. Settings are `part.field=value`, as on the command
line, on top of a preset. What cannot be done raises an error with one sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from core.problems import Problem
from core.runs.snapshot import Snapshot
from core.runs.thinning import thin
from core.settings.presets import find_preset
from core.settings.run_config import RunConfig
from core.workbench.workbench import Workbench
from ui.compare.sampling_form import make_sampling


def add_api(workbench: Workbench, preset_of_this_machine: str) -> None:
    """Adds the six names to the Blocks that is being built."""

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

    def resume(run_id: str, token: str = "") -> dict:
        """Goes on with a run that was interrupted, was stopped or failed, and returns at once."""
        with _sentences():
            run = workbench.resume(workbench.runs.find(run_id).id, token)
            return {"run_id": run.id, "run_dir": str(run.folder)}

    def snapshot() -> dict:
        """The machine, the model and the run as they stand; its histories thinned, the extremes kept."""
        run, state = workbench.snapshot, workbench.model_state
        return {
            "machine": workbench.machine.model_dump(),
            "memory": workbench.memory().model_dump(),
            "model": state.report.model_dump() if state.report else None,
            "adapter": state.adapter,
            "busy_with": workbench.busy_with,
            "run": told_to_clients(run) if run else None,
        }

    def compare(
        prompt: str,
        system: str = "",
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_new_tokens: int = 128,
        seed: int = 3407,
    ) -> Iterator[dict]:
        """Base and tuned answer the prompt; the last value is complete."""
        with _sentences():
            sampling = make_sampling(temperature, top_p, max_new_tokens, seed)
            for base, tuned, difference in workbench.lab.compare(prompt, system, sampling):
                yield {
                    "prompt": prompt,
                    "base": base.text,
                    "tuned": tuned.text if tuned else None,
                    "max_logit_difference": difference,
                }

    for action in (load_model, start, stop, resume, snapshot, compare):
        gr.api(action, api_name=action.__name__)


def told_to_clients(run: Snapshot) -> dict:
    """The snapshot as plain values, under 100 kB however long the run: a client may ask every second.

    Of the samples the base's and the newest, each text cut to 200 characters.
    """
    newest = {sampled.by: sampled for sampled in run.samples}
    samples = tuple(
        sampled.model_copy(update={"prompts": _cut(sampled.prompts), "answers": _cut(sampled.answers)})
        for sampled in newest.values()
    )
    thinned = {
        "steps": tuple(thin(run.steps, 120, lambda s: s.step, lambda s: s.loss, lambda s: s.grad_norm)),
        "evaluations": tuple(thin(run.evaluations, 100, lambda e: e.step, lambda e: e.eval_loss)),
        "memory": tuple(thin(run.memory, 60, lambda m: m.time, lambda m: m.used_by_us_gib)),
    }
    return run.model_copy(update=thinned | {"samples": samples}).model_dump()


def _cut(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text if len(text) <= 200 else f"{text[:200]}…" for text in texts)


@contextmanager
def _sentences():
    """What the program says to people goes to the client as it stands."""
    try:
        yield
    except Problem as error:
        raise gr.Error(str(error), print_exception=False) from None
