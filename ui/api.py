"""The page's actions under stable names, for gradio_client, such as /load_model and /start.

They do what the page's buttons do, and return plain values. Settings are `part.field=value`, as on the command line, on
top of a preset. Errors are one sentence each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from core.export.hub import Repository
from core.export.record import as_values
from core.export.wanted import wanted_of
from core.problems import ExportError, Problem
from core.runs.snapshot import Snapshot
from core.runs.thinning import thin
from core.settings.run_config import RunConfig
from core.workbench.workbench import Workbench
from ui.compare.sampling_form import make_sampling
from ui.shared.formatting import cut

NAMES = ("load_model", "start", "stop", "resume", "snapshot", "compare", "export", "push")
STEP_POINTS, EVALUATION_POINTS, MEMORY_POINTS = 120, 100, 60  # of a snapshot's histories, at most
TEXT_CHARACTERS = 200  # of each prompt and answer in a snapshot, at most


def add_api(workbench: Workbench, preset_of_this_machine: str) -> None:
    """Adds the six names to the Blocks that is being built."""
    actions = Actions(workbench, preset_of_this_machine)
    for name in NAMES:
        gr.api(getattr(actions, name), api_name=name)


class Actions:
    """What clients can do. Gradio reads the types and defaults of the parameters."""

    def __init__(self, workbench: Workbench, preset_of_this_machine: str):
        self._workbench, self._default_preset = workbench, preset_of_this_machine

    def _chosen(self, preset: str, settings: list[str]) -> tuple[str, RunConfig]:
        found = self._workbench.find_preset(preset or self._default_preset)
        return found.name, found.config.with_settings(settings)

    def load_model(self, preset: str = "", settings: list[str] = [], token: str = "") -> dict:  # noqa: B006
        """Loads the preset's model and returns what was loaded."""
        with _problems_for_clients():
            return self._workbench.load_model(self._chosen(preset, settings)[1].model, token).model_dump()

    def start(self, preset: str = "", settings: list[str] = [], token: str = "") -> dict:  # noqa: B006
        """Starts a run and returns at once; /snapshot shows its progress."""
        with _problems_for_clients():
            name, config = self._chosen(preset, settings)
            run = self._workbench.start(config, token=token, preset=name)
            return {"run_id": run.id, "run_dir": str(run.folder)}

    def stop(self) -> dict:
        """Stops the run in progress, if there is one."""
        return {"stopping": self._workbench.stop()}

    def resume(self, run_id: str, token: str = "") -> dict:
        """Resumes a run that was interrupted, was stopped or failed, and returns at once."""
        with _problems_for_clients():
            run = self._workbench.resume(self._workbench.runs.find(run_id).id, token)
            return {"run_id": run.id, "run_dir": str(run.folder)}

    def export(
        self,
        run_id: str,
        to: str = "adapter",
        quant: list[str] = ["q8_0"],  # noqa: B006
        dtype: str = "bfloat16",
        base: str = "trained",
        checkpoint: int | None = None,
        check: bool = True,
        token: str = "",
    ) -> dict:
        """Exports a run as the command `export` does, into the run's folder, and returns when that is done.

        The result is what that command prints as JSON, but a file's path is called `file`: what has a `path`, the
        client takes for a file to download.
        """
        with _problems_for_clients():
            run = self._workbench.runs.open(run_id)
            wanted = wanted_of(run, to, quant, dtype, base, checkpoint)
            self._workbench.exporting.export(run, wanted, checkpoint, check, token)
            made = as_values(self._exported())
            files = [{"file": f["path"], "bytes": f["bytes"], "sha256": f["sha256"]} for f in made["files"]]
            return made | {"files": files}

    def push(
        self,
        run_id: str,
        repo_id: str,
        what: str = "adapter",
        public: bool = False,
        revision: str = "",
        quant: list[str] = ["q8_0"],  # noqa: B006
        dtype: str = "bfloat16",
        base: str = "trained",
        checkpoint: int | None = None,
        check: bool = True,
        token: str = "",
    ) -> dict:
        """Exports a run, tests that and puts it into a repository on Hugging Face; returns when it is there."""
        with _problems_for_clients():
            run = self._workbench.runs.open(run_id)
            wanted = wanted_of(run, what, quant, dtype, base, checkpoint)
            to = Repository(repo_id, revision or None, not public)
            self._workbench.exporting.push(run, wanted, to, checkpoint, check, token)
            pushed = self._exported()
            return {"repo": repo_id, "url": pushed.url, "commit": pushed.commit, "private": pushed.is_private}

    def _exported(self) -> Any:
        """What the export in progress ends with. Raises ExportError."""
        state = self._workbench.exporting.wait()
        if state.found is None:
            raise ExportError(state.said)
        return state.found

    def snapshot(self) -> dict:
        """The current state of the machine, the model and the run; histories are thinned, but keep their extremes."""
        workbench = self._workbench
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
        self,
        prompt: str,
        system: str = "",
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_new_tokens: int = 128,
        seed: int = 3407,
    ) -> Iterator[dict]:
        """Base and tuned answer the prompt; the last value is complete."""
        with _problems_for_clients():
            sampling = make_sampling(temperature, top_p, max_new_tokens, seed)
            for base, tuned, difference in self._workbench.lab.compare(prompt, system, sampling):
                yield {
                    "prompt": prompt,
                    "base": base.text,
                    "tuned": tuned.text if tuned else None,
                    "max_logit_difference": difference,
                }


def told_to_clients(run: Snapshot) -> dict:
    """The snapshot as plain values, under 100 kB however long the run: a client may request it every second.

    It has the base's samples and the newest ones of the tuned model, each text cut to 200 characters.
    """
    newest = {sampled.by: sampled for sampled in run.samples}
    samples = tuple(
        sampled.model_copy(update={"prompts": _cut(sampled.prompts), "answers": _cut(sampled.answers)})
        for sampled in newest.values()
    )
    thinned = {
        "steps": tuple(thin(run.steps, STEP_POINTS, lambda s: s.step, lambda s: s.loss, lambda s: s.grad_norm)),
        "evaluations": tuple(thin(run.evaluations, EVALUATION_POINTS, lambda e: e.step, lambda e: e.eval_loss)),
        "memory": tuple(thin(run.memory, MEMORY_POINTS, lambda m: m.time, lambda m: m.used_by_us_gib)),
    }
    return run.model_copy(update=thinned | {"samples": samples}).model_dump()


def _cut(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(cut(text, TEXT_CHARACTERS) for text in texts)


@contextmanager
def _problems_for_clients():
    """Passes on to the client, as an error of Gradio's, the sentence that a person would see."""
    try:
        yield
    except Problem as error:
        raise gr.Error(str(error), print_exception=False) from None
