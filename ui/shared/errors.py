"""Errors where they belong: about a setting, at its field; and all of them go once what caused them has changed.

Where something was asked for that cannot be done, a few words lead to the field. Which settings are wrong, and why, is
in an attribute `data-faults` of these words, from which `errors.js` writes each sentence at its field. A field may not
be on the page yet: Gradio makes the contents of a tab or an accordion when it is first opened.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import gradio as gr
from markupsafe import Markup

from core.problems import Problem
from core.settings.run_config import fields
from ui.shared.formatting import notice
from ui.shared.html import render_part
from ui.shared.settings_form import Form

_QUIET = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
_TEMPLATE = "shared/errors.html"


def error_text(error: Problem, form: Form, kind: str = "error", stays: bool = False) -> Markup:
    """The error in its own words; for one about settings of the form, a few words and a button that leads to the first
    of them, where its own words are.

    `stays` if it is not among the messages of `follow_settings`, which would take it away once the settings are right.
    """
    names = [name for name in error.settings if name in form.components]
    if not names:
        return notice(str(error), kind)
    field = form.components[names[0]]
    return render_part(
        _TEMPLATE, "pointer", title=fields()[names[0]].title, kind=kind, field=field.elem_id,
        faults=_faults({} if stays else dict.fromkeys(names, error)), way=" ".join(_way_to(field)),
    )  # fmt: skip


def clear_on(events: Sequence, *messages: gr.HTML) -> None:
    """Empties the messages in the browser on each of these events."""
    empty = "''" if len(messages) == 1 else str([""] * len(messages))
    gr.on(list(events), None, None, list(messages), js=f"() => {empty}", **_QUIET)


def follow_settings(
    form: Form,
    *messages: gr.HTML,
    drawn: Mapping[gr.HTML, Callable[[dict], Markup]] = MappingProxyType({}),
    inputs: Sequence[gr.components.Component] = (),
) -> None:
    """Once a setting changes, each setting that cannot be used says so at its field, and the errors in these messages
    go, unless the settings still have one. What else follows the settings is `drawn` from their values and `inputs`.

    Call it outside of all tabs, when the form has all its fields.
    """
    wrong, seen = gr.HTML(padding=False, visible="hidden"), gr.State({})

    def errors_now(values: dict) -> dict:
        found = form.faults(values)
        text = next((error_text(error, form) for error in found.values()), "")
        # Gradio sends a change more than once: what was refused or asked meanwhile, with these same settings, stays.
        now = {name: values[field] for name, field in form.components.items()}
        shown = {message: text for message in messages if values[message] and now != values[seen]}
        others = {part: _if_new(draw(values), values[part]) for part, draw in drawn.items()}
        return dict.fromkeys(messages, gr.skip()) | shown | {wrong: _faults_text(found), seen: now} | others

    settings, texts = form.components.values(), [*messages, *drawn]
    gr.on(
        [field.change for field in settings], errors_now, {*settings, *texts, *inputs, seen}, [*texts, wrong, seen],
        api_name="errors_now", trigger_mode="always_last", **_QUIET,
    )  # fmt: skip


def _if_new(text: Markup, shown: str | None) -> Markup | dict:
    return gr.skip() if text == (shown or "") else text


def _faults_text(found: dict[str, Problem]) -> Markup:
    return render_part(_TEMPLATE, "faults", faults=_faults(found)) if found else Markup()


def _faults(found: dict[str, Problem]) -> str:
    """What is wrong, by the elem_id of the field, as JSON."""
    return json.dumps({name.replace(".", "-"): str(error) for name, error in found.items()}, ensure_ascii=False)


def _way_to(field: gr.components.Component) -> list[str]:
    """The elem_ids of the tabs and accordions to open, from the outermost, to see this field."""
    way, place = [], field.parent
    while place is not None:
        if isinstance(place, gr.Tab | gr.Accordion) and place.elem_id:
            way.insert(0, place.elem_id)
        place = place.parent
    return way
