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


def follow_settings(form: Form, *messages: gr.HTML) -> None:
    """Once a setting changes, the errors in these messages go, unless the settings still have one. Call it when the
    form has all its fields."""

    def errors_now(values: dict) -> dict:
        shown = [message for message in messages if values[message]]
        if not shown:
            return dict.fromkeys(messages, gr.skip())
        try:
            form.read(values)
        except ConfigError as error:
            return dict.fromkeys(shown, notice(str(error), "error"))
        return dict.fromkeys(shown, "")

    fields = form.components.values()
    gr.on(
        [field.change for field in fields], errors_now, {*fields, *messages}, list(messages),
        api_name="errors_now", trigger_mode="always_last", **_QUIET,
    )  # fmt: skip
