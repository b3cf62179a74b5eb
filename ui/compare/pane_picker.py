"""The heads of the chat's panes: each is a list of what the pane can ask, and a run that is chosen there is loaded."""

from collections.abc import Sequence

import gradio as gr

from core.problems import Problem, tr
from core.runs.adapter_ref import BASE, Pane
from core.workbench.desk import LOADING
from core.workbench.workbench import Workbench
from ui.compare.chat_scripts import ADD_HEAD, HEADS_OF, NO_ERROR_ONCE_LOADED, REMOVE_RIGHT, REMOVE_THIRD
from ui.shared.choices import chosen_in
from ui.shared.errors import clear_on
from ui.shared.formatting import notice, pane_label
from ui.shared.html import render_part
from ui.shared.run_names import RunNames

NONE = (tr("Choose a run…"), "")
PANES = "panes"  # one at a time changes the panes and what depends on them, so that none overtakes another


class PanePicker:
    """Made inside a layout; `live` says what its parts show now."""

    def __init__(self, workbench: Workbench):
        self._workbench, self._names = workbench, RunNames(workbench.runs)
        # A run that is deleted while it is in a list must reach our own error, which says so in a sentence.
        bare = {"allow_custom_value": True, "min_width": 120, "show_label": False, "container": False}
        small = {"size": "sm", "scale": 0, "min_width": 28}
        base = (pane_label(BASE), BASE.key)
        with gr.Column(elem_id="heads-bar"):
            with gr.Row(elem_id="heads"):
                with gr.Row(elem_classes="head"):
                    self.left = gr.Dropdown([base], value=BASE.key, label=tr("Left pane"), elem_id="pane-left", **bare)
                with gr.Row(elem_classes="head", elem_id="head-right"):
                    self.right = gr.Dropdown(
                        [NONE, base], value="", label=tr("Right pane"), elem_id="pane-right", **bare
                    )
                    self.remove_right = gr.Button(tr("Remove the right pane"), elem_id="remove-right", **small)
                with gr.Row(elem_classes="head", elem_id="head-third"):
                    self.third = gr.Dropdown(
                        [NONE, base], value="", label=tr("Third pane"), elem_id="pane-third", **bare
                    )
                    self.remove_third = gr.Button(tr("Remove the third pane"), elem_id="remove-third", **small)
                self.add = gr.Button(tr("Add a pane"), elem_id="add-pane", **small)
            self.progress = gr.HTML(padding=False, elem_id="pick-progress")
            self.trouble = gr.HTML(padding=False, elem_id="pick-trouble")
            self.changed = gr.HTML(padding=False, elem_id="panes-changed")  # that the conversation has other panes
        # The chosen values change when this does, not whenever there is another run to choose.
        self.loaded = gr.Textbox(BASE.key, visible="hidden")
        # What was loaded when the panes were last set by this: as the server has it, and as the page does.
        self.set_for, self.shown_for = gr.State(BASE.key), gr.Textbox(BASE.key, visible="hidden")
        self.choices = [self.left, self.right, self.third]
        self.panes = [self.set_for, self.shown_for, *self.choices]

    def connect(self, token: gr.Textbox, *messages: gr.HTML, **event_options) -> None:
        """`messages` are about the panes as they are: a new choice empties them."""
        for place, choice in zip(("left", "right", "third"), self.choices, strict=True):
            told = chosen_in(choice)
            clear_on([told.change], self.trouble, *messages)
            told.change(self.load, [choice, token], [self.trouble], api_name=f"choose_{place}", **event_options)
        others = [self.right, self.third]
        gr.on([self.right.change, self.third.change], None, others, None, js=HEADS_OF, **event_options)
        self.add.click(None, None, None, js=ADD_HEAD, **event_options)
        self.remove_right.click(None, others, others, js=REMOVE_RIGHT, **event_options)
        self.remove_third.click(None, None, [self.third], js=REMOVE_THIRD, **event_options)
        loaded, inputs = self.loaded, [self.loaded, self.set_for, *self.choices]
        loaded.change(self._follow, inputs, self.panes, api_name="panes_for", concurrency_id=PANES, **event_options)
        loaded.change(None, [loaded, self.trouble], [self.trouble], js=NO_ERROR_ONCE_LOADED, **event_options)

    def live(self) -> dict:
        state, is_loading = self._workbench.model_state, self._workbench.busy_with == LOADING
        choices = self._choices()
        progress = render_part("compare/loading.html", "loading", words=state.doing, share=state.share)
        return {
            self.left: {"choices": choices},
            self.right: {"choices": [NONE, *choices]},
            self.third: {"choices": [NONE, *choices]},
            self.progress: {"value": progress if is_loading else ""},
            # Nothing is loaded while a run is being loaded, and the pane that was chosen for it must not change.
            self.loaded: {} if is_loading else {"value": self._loaded_key(choices)},
        }

    def _loaded_key(self, choices: list[tuple[str, str]]) -> str:
        """The key of the run that is loaded; that of the base if there is none.

        A run in progress is on the model, but there is nothing to ask before its adapter is saved.
        """
        state = self._workbench.model_state
        loaded = Pane(state.adapter, state.step)
        return loaded.key if state.adapter and loaded.key in [key for _, key in choices] else BASE.key

    def chosen(self, values: dict) -> tuple[Pane, ...]:
        """The panes that the form names; the left one is always there."""
        keys = [key for key in (values[self.left] or BASE.key, values[self.right], values[self.third]) if key]
        return tuple(_pane(key) for key in keys)

    def settled(self, values: dict) -> tuple[tuple[Pane, ...], dict]:
        """The panes to ask, and what the form must be told: with a run that is loaded, but on a page that has not heard
        of it yet, that run is asked too. Waits for one that is being loaded."""
        self._workbench.lab.wait_for_loading()
        loaded = self._loaded_key(self._choices())
        if values[self.shown_for] == loaded:
            return self.chosen(values), {}
        updates = self.panes_for(loaded, *(values[choice] for choice in self.choices))
        told = dict(zip(self.choices, updates, strict=True))
        panes = self.chosen({choice: update["value"] for choice, update in told.items()})
        return panes, told | dict.fromkeys((self.set_for, self.shown_for), loaded)

    def load(self, key: str | None, token: str) -> str:
        """Loads the run that was chosen for a pane, which other tabs are then about too. Returns the error, if any."""
        pane, lab = _pane(key or BASE.key), self._workbench.lab
        try:
            if pane.is_base or pane == lab.loaded_pane:
                return ""
            run = self._workbench.runs.open(pane.run_id)
            if self._workbench.busy_with and pane in lab.choices():
                return ""  # it is put on the base when it is asked
            lab.load_run(run.id, token, pane.step)
        except Problem as error:
            return notice(str(error), "error")
        return ""

    def come_back(self, panes: Sequence[str], set_for: str) -> dict:
        """The panes that were chosen when the page was open before and `set_for` was loaded, as far as they can be
        asked on the base that is loaded; nothing is loaded for them."""
        loaded = self._loaded_key(self._choices())
        updates = self.panes_for(BASE.key if loaded == set_for else loaded, *panes)
        return {self.set_for: loaded, self.shown_for: loaded, **dict(zip(self.choices, updates, strict=True))}

    def _follow(self, loaded: str, set_for: str, *chosen: str | None) -> list:
        if loaded == set_for:  # they came back with it
            return [gr.skip()] * (2 + len(chosen))
        return [loaded, loaded, *self.panes_for(loaded, *chosen)]

    def panes_for(self, loaded: str, *chosen: str | None) -> list[dict]:
        """After another run was loaded: the panes as they were chosen if it is one of them, without those of another
        base; otherwise the base and next to it that run. With the choices, which give the values their names."""
        choices = self._choices()
        on_base = {pane.key for pane in self._workbench.lab.choices()}
        left, *others = (key if key in on_base else "" for key in chosen)
        kept = [left or BASE.key, *filter(None, others)]
        if loaded not in (BASE.key, *kept):
            kept = [BASE.key, loaded]
        values = [*kept, "", ""][:3]
        offered = [choices, [NONE, *choices], [NONE, *choices]]
        return [gr.update(choices=names, value=value) for names, value in zip(offered, values, strict=True)]

    def _choices(self) -> list[tuple[str, str]]:
        """The base, all runs, and the checkpoints of those on the base that is loaded."""
        on_base = self._workbench.lab.choices()
        runs = {pane.run_id for pane in on_base}
        others = [Pane(row.id) for row in self._workbench.runs.rows() if row.has_adapter and row.id not in runs]
        return [(self._names.pane(pane), pane.key) for pane in (*on_base, *others)]


def _pane(key: str) -> Pane:
    if not isinstance(key, str):  # the page never sends that, but a client can
        raise gr.Error(tr("A pane is named by text: base, or a run's id."), print_exception=False)
    return Pane.from_key(key)
