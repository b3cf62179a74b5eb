"""A recipe on the page: its steps as a strip, its stages to change before it starts, and where it is.

What it shows is the program's, not the page's: a reload, or another page, shows the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from core.problems import Problem, tr
from core.settings.recipes import Recipe, find_recipe, list_recipes
from core.settings.run_config import RunConfig
from core.workbench.recipe_job import RecipeJob
from core.workbench.recipe_record import Record, step_in_words, steps_of
from core.workbench.workbench import Workbench
from ui.report.recipe_page import address_of
from ui.shared.clicks import CLICKS
from ui.shared.errors import error_text
from ui.shared.formatting import notice
from ui.shared.html import render_part
from ui.shared.settings_form import Form

PREFIX = "recipe-"  # before a recipe's name among the values of the list
HEADING = "recipes"  # the value of the heading above them
TEMPLATE = "model/recipe.html"
SAID_CHARACTERS = 600  # of the answer that is growing
KINDS = {"completed": "good", "failed": "error"}  # of notices


def recipe_choices() -> list[tuple[str, str]]:
    """The heading, and below it the recipes, each with the card that it is meant for."""
    found = [(f"　{recipe.title} · {recipe.card}", PREFIX + recipe.name) for recipe in list_recipes()]
    return [(tr("Recipes: from the first look to the model to take home"), HEADING), *found]


@dataclass(frozen=True)
class _Draft:
    """The recipe that was chosen, its stages as they were changed; `editing` is the stage that the form shows."""

    recipe: Recipe
    editing: str


class RecipeStrip:
    """Layout and handlers. Visitors of a page have no recipes."""

    def __init__(self, workbench: Workbench, form: Form):
        self._form, self._said = form, Markup()
        self._job = RecipeJob(workbench)
        workbench.queue.gives_way = lambda: self._job.is_running
        self._draft: _Draft | None = None
        self._later = ""  # the stage that the form shows while the recipe runs and that stage has not started
        self.part = gr.HTML(self._text(), padding=False, elem_id="recipe", js_on_load=CLICKS)

    def connect(self, token: gr.Textbox) -> None:
        """Wires the buttons, once the form has all its fields."""
        fields = set(self._form.components.values())
        self._token = token
        self.part.asked(
            self._asked, fields | {token}, [self.part, *fields], api_name="recipe", api_visibility="private",
            show_progress="hidden",
        )  # fmt: skip

    def live(self) -> dict:
        return {self.part: {"value": self._text()}}

    def shown(self) -> dict:
        """The same as `live`, for an event that changes what is shown."""
        return {self.part: self._text()}

    def open(self, value: str) -> RunConfig | None:
        """Shows the recipe of that value of the list, or none for any other value; the settings of its first stage."""
        self._said = Markup()
        if not value.startswith(PREFIX):
            self._draft = None
            return None
        recipe = find_recipe(value.removeprefix(PREFIX))
        self._draft = _Draft(recipe, recipe.stages[0].name)
        return recipe.stages[0].config

    def open_again(self, value: str) -> None:
        """Opens the recipe of that value of the list, unless one is open. Raises ConfigError."""
        if self._draft is None and value.startswith(PREFIX):
            self.open(value)

    def _asked(self, values: dict, asked: gr.EventData) -> dict:
        self._said = Markup()
        filled = dict.fromkeys(self._form.components.values(), gr.skip())
        try:
            if asked.ask == "stop":
                self._job.stop()
            elif asked.ask == "continue":
                self._job.resume(asked.id, values[self._token])
            elif asked.ask == "later":
                self._later = asked.stage
                filled |= self._form.fill(self._job.state.recipe.stage(asked.stage).config)
            elif asked.ask == "keep":
                self._job.change(asked.stage, self._form.read(values))
                self._later = ""
            elif self._draft is not None:
                filled |= self._change(asked, values)
        except Problem as error:
            self._said = error_text(error, self._form, stays=True)
        return filled | {self.part: self._text()}

    def _change(self, asked: gr.EventData, values: dict) -> dict:
        """Keeps what the form says for the stage that it shows, and then does what was asked."""
        draft = self._draft
        if asked.ask == "small":
            self._job.start(find_recipe(draft.recipe.name, small=True), values[self._token])
            return {}
        recipe = draft.recipe.with_stage(draft.editing, self._form.read(values))
        if asked.ask == "stage":
            self._draft = _Draft(recipe, asked.stage)
            return self._form.fill(recipe.stage(asked.stage).config)
        self._draft = _Draft(recipe, draft.editing)
        self._job.start(recipe, values[self._token])
        return {}

    def _text(self) -> Markup:
        record, draft = self._job.state, self._draft
        if record is not None and (self._job.is_running or draft is None or record.recipe.name == draft.recipe.name):
            later = _not_started(record) if self._job.is_running else []
            is_folded = draft is not None and not self._job.has_worked  # what has ended before is in the way
            began = _started(record, self._job.said, is_folded, later, self._later)
        else:
            began = Markup()
        offered = Markup() if draft is None or self._job.is_running else _offered(draft)
        return offered + self._said + began


def _offered(draft: _Draft) -> Markup:
    recipe = draft.recipe
    return render_part(
        TEMPLATE,
        "offered",
        about=recipe.description,
        groups=_groups(recipe, lambda number: ""),
        stages=[(stage.name, stage.shown, stage.name == draft.editing) for stage in recipe.stages],
        models=", ".join(recipe.models),
    )


def _groups(recipe: Recipe, state: Callable[[int], str]) -> list[tuple[str, list[dict[str, str]]]]:
    """The steps by model, each in words and with the state of its number."""
    groups: dict[str, list[dict[str, str]]] = {}
    for number, step in enumerate(steps_of(recipe)):
        words = step_in_words(recipe, step, with_model=False)
        model = "" if step.kind == "data" else step.model
        groups.setdefault(model, []).append({"words": words, "state": state(number)})
    return list(groups.items())


def _not_started(record: Record) -> list[tuple[str, str]]:
    """The stages whose settings can still be changed, by name, with their titles."""
    step = record.step
    begun = {run.stage for run in record.runs} | ({step.stage} if step and step.kind == "train" else set())
    return [(stage.name, stage.shown) for stage in record.recipe.stages if stage.name not in begun]


def _started(record: Record, said: str, is_folded: bool, later: list[tuple[str, str]], editing: str) -> Markup:
    """How far it is, or how it ended. `later` are the stages to change; the form shows that of the name `editing`."""

    def state(number: int) -> str:
        is_now = number == record.done and not record.is_over
        return "done" if number < record.done else "now" if is_now else ""

    message = tr(record.message) if record.is_over else ""
    return render_part(
        TEMPLATE,
        "started",
        title=record.recipe.title,
        small=tr("with the demo model") if record.recipe.is_small else "",
        groups=_groups(record.recipe, state),
        message=notice(message, KINDS.get(record.status, "warning")),
        said=said[:SAID_CHARACTERS],
        id=record.id,
        can_stop=record.status == "running",
        can_continue=record.status in ("stopped", "failed", "interrupted"),
        report=address_of(record) if record.runs else "",
        is_folded=is_folded and record.is_over,
        later=later,
        editing=next(((name, title) for name, title in later if name == editing), None),
    )
