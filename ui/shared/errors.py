"""Errors that go once what caused them has changed."""

from collections.abc import Sequence

import gradio as gr

from core.problems import ConfigError
from ui.shared.formatting import notice
from ui.shared.settings_form import Form

_QUIET = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


def clear_on(events: Sequence, *messages: gr.HTML) -> None:
    """Empties the messages in the browser on each of these events."""
    empty = "''" if len(messages) == 1 else str([""] * len(messages))
    gr.on(list(events), None, None, list(messages), js=f"() => {empty}", **_QUIET)


def follow_settings(form: Form, message: gr.HTML, name: str) -> None:
    """Once a setting changes, the error in `message` goes, unless the settings still have one. Call it when the form
    has all its fields; `name` is the handler's."""

    def error_now(values: dict) -> str | dict:
        if not values[message]:
            return gr.skip()
        try:
            form.read(values)
        except ConfigError as error:
            return notice(str(error), "error")
        return ""

    fields = form.components.values()
    gr.on(
        [field.change for field in fields], error_now, {*fields, message}, [message],
        api_name=name, trigger_mode="always_last", **_QUIET,
    )  # fmt: skip
