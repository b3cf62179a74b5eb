"""The Runs tab: a table of all runs, the opened run, several runs compared, and the trash.

What a page searches, opened and chose is its own, so `live` says only that something has changed; the page then asks
for what it shows. So nothing is sent while nothing happens, and no update overwrites a note that someone is writing.
"""

from dataclasses import replace

import gradio as gr

from core.problems import RunError, tr, trn
from core.runs.overview import Overview, search, sort
from core.runs.run_list import RunList
from core.workbench.workbench import Workbench
from ui.runs.compare_runs import losses_text, tables_text
from ui.runs.opened_run import OpenedRun
from ui.runs.runs_table import (
    COLUMN_TITLES,
    ROWS_PER_PAGE,
    TEXT_COLUMNS,
    Shown,
    chosen_text,
    delete_text,
    table_text,
    trash_text,
    undo_text,
    visible,
)
from ui.shared.clicks import CLICKS
from ui.shared.formatting import disk, notice
from ui.shared.run_charts import MOST_RUNS
from ui.shared.run_names import RunNames
from ui.shared.settings_form import Form

LOSS_AXES = [(tr("steps"), "step"), (tr("tokens"), "tokens"), (tr("time"), "time")]


class RunsTab:
    """Layout and handlers; `live` says whether the runs have changed."""

    def __init__(
        self,
        workbench: Workbench,
        runs: RunList,
        form: Form,
        preset: gr.Dropdown,
        token: gr.Textbox,
        tab: gr.Tab,
        tabs: gr.Tabs,
    ):
        self._runs, self._trash, self._tab = runs, workbench.trash, tab
        self.shown = gr.State(Shown())
        self.changes = gr.Textbox(visible="hidden")  # differs when there is something that a page should know about
        self.search = gr.Textbox(
            label=tr("Search"),
            placeholder=tr("Search by name, model, data, note or status"),
            max_lines=1,
            container=False,
            elem_id="runs-search",
        )
        self.said = gr.HTML(padding=False, elem_id="runs-said", js_on_load=CLICKS)
        self.table = gr.HTML(padding=False, elem_id="runs-table", js_on_load=CLICKS)
        self.chosen = gr.HTML(padding=False, elem_id="runs-chosen", js_on_load=CLICKS)
        with gr.Column(visible=False, elem_id="compare-runs") as self.comparing:
            self.over = gr.Radio(LOSS_AXES, value="step", label=tr("Losses over"), elem_id="losses-over")
            self.losses = gr.HTML(padding=False, elem_id="losses")
            self.differ = gr.HTML(padding=False, elem_id="differ")
        self.opened = OpenedRun(workbench, runs, form, preset, token, tabs)
        with gr.Accordion(tr("Trash"), open=False, elem_id="trash") as self.trash:
            self.deleted = gr.HTML(padding=False, elem_id="deleted", js_on_load=CLICKS)

    def connect(self) -> None:
        """Wires the handlers, once the form has all its fields."""
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        opened = self.opened
        listed = [self.shown, self.said, self.table, self.chosen, self.trash, self.deleted]
        compared = [self.comparing, self.losses, self.differ]
        drawn = [*listed, *opened.parts, *compared]
        # One after the other, and none skipped: each starts with the `shown` that the one before has left.
        turn = hidden | {"concurrency_id": "runs", "concurrency_limit": 1, "trigger_mode": "multiple"}
        newest = turn | {"trigger_mode": "always_last"}
        looked = [self.shown, self.over]
        gr.on([self.changes.change, self._tab.select], self._refresh, looked, drawn, api_name="runs_changed", **newest)
        # Not `input`: that sends the text as it was before the last key.
        self.search.change(self._search, [self.search, self.shown], listed, api_name="search_runs", **newest)
        for place in (self.said, self.table, self.chosen, self.deleted, opened.trouble):
            place.asked(self._answer, looked, drawn, api_name=f"asked_in_{place.elem_id}", **turn)
        self.over.input(self._compared, looked, compared, api_name="losses_over", **turn)
        saved = [*listed, opened.head, opened.trouble]
        about = [self.shown, opened.name, opened.note]
        gr.on([opened.save.click, opened.name.submit], self._save, about, saved, api_name="save_about", **turn)
        opened.delete.click(self._ask_to_delete, [self.shown], [opened.trouble], api_name="delete_run", **turn)
        opened.close.click(self._close, [self.shown], drawn, api_name="close_run", **turn)
        opened.connect(self.shown)

    def live(self) -> dict:
        """A number that differs when there is something new to show."""
        now = visible(self._runs.rows()), self._trash.changed
        return {self.changes: {"value": str(hash(now))}} | self.opened.live()

    # What is shown

    def _listed(self, shown: Shown, said: str = "") -> dict:
        rows = self._runs.rows(fresh=True)
        deleted = self._trash.runs()
        trash = tr("Trash")
        if deleted:
            size = disk(sum(run.size for run in deleted))
            trash = trn("Trash ({count:,} run, {size})", "Trash ({count:,} runs, {size})", len(deleted), size=size)
        return {
            self.shown: shown,
            self.said: said,
            self.table: table_text(sort(search(rows, shown.search), shown.by, shown.is_down), len(rows), shown),
            self.chosen: chosen_text(rows, shown.chosen),
            self.trash: gr.update(label=trash),
            self.deleted: trash_text(deleted, shown.is_emptying),
        }

    def _row(self, run_id: str) -> Overview | None:
        return next((row for row in self._runs.rows(fresh=True) if row.id == run_id), None) if run_id else None

    def _compared(self, shown: Shown, over: str) -> dict:
        rows = [row for row in map(self._row, shown.chosen) if row is not None]
        if len(rows) < 2:
            return {self.comparing: gr.update(visible=False), self.losses: "", self.differ: ""}
        snapshots = [self._runs.open(row.id).snapshot() for row in rows]
        configs = []
        for row in rows:
            try:
                configs.append(self._runs.open(row.id).config())
            except RunError:
                configs.append(None)
        return {
            self.comparing: gr.update(visible=True),
            self.losses: losses_text(rows, snapshots, over),
            self.differ: tables_text(rows, snapshots, configs),
        }

    # What is asked for

    def _refresh(self, shown: Shown, over: str) -> dict:
        """After a change: what this page shows, drawn again; a notice with its Undo stays."""
        known = {row.id for row in self._runs.rows(fresh=True)}
        shown = replace(shown, chosen=tuple(run for run in shown.chosen if run in known))
        listed = self._listed(shown) | {self.said: gr.skip()}
        return listed | self.opened.show(self._row(shown.opened)) | self._compared(shown, over)

    def _search(self, text: str, shown: Shown) -> dict:
        return self._listed(replace(shown, search=text or "", most=ROWS_PER_PAGE)) | {self.said: gr.skip()}

    def _answer(self, shown: Shown, over: str, asked: gr.EventData) -> dict:
        """A press of one of the buttons inside the table, the notice or the trash."""
        run = getattr(asked, "run", "")
        try:
            match asked.ask:
                case "open":
                    row = self._runs.find(run)
                    return self._listed(replace(shown, opened=row.id)) | self.opened.open(row)
                case "sort":
                    return self._listed(_sorted(shown, asked.by))
                case "more":
                    return self._listed(replace(shown, most=shown.most + ROWS_PER_PAGE))
                case "choose":
                    shown, said = _choose(shown, self._runs.find(run).id)
                    return self._listed(shown, said) | self._compared(shown, over)
                case "clear":
                    shown = replace(shown, chosen=())
                    return self._listed(shown) | self._compared(shown, over)
                case "delete":
                    return self._delete(shown, over)
                case "keep-run":
                    return {self.opened.trouble: ""}
                case "put-back":
                    back = self._trash.put_back(asked.deleted)
                    words = tr("{run} was put back.", run=RunNames(self._runs).run(back))
                    return self._listed(shown, notice(words, "good"))
                case "empty" | "keep" as ask:
                    return self._listed(replace(shown, is_emptying=ask == "empty"))
                case "empty-now":
                    words = tr("The trash is empty; this freed {size}.", size=disk(self._trash.empty()))
                    return self._listed(replace(shown, is_emptying=False), notice(words, "good"))
        except RunError as error:
            return self._listed(shown, notice(str(error), "error"))
        return {}

    def _close(self, shown: Shown) -> dict:
        return self._listed(replace(shown, opened="")) | self.opened.show(None)

    def _save(self, shown: Shown, name: str, note: str) -> dict:
        opened = self.opened
        try:
            self._runs.describe(shown.opened, name or "", note or "")
        except RunError as error:
            return {opened.trouble: notice(str(error), "error")}
        row = self._runs.find(shown.opened)
        return self._listed(shown) | {opened.head: opened.head_of(row), opened.trouble: notice(tr("Saved."), "good")}

    def _ask_to_delete(self, shown: Shown) -> str:
        return delete_text(RunNames(self._runs).run(shown.opened))

    def _delete(self, shown: Shown, over: str) -> dict:
        try:
            row = self._runs.find(shown.opened)
            if row.is_going_on:
                raise RunError("This run is in progress; stop it before you delete it.")
            deleted = self._trash.take(row.folder)
        except RunError as error:
            return {self.opened.trouble: notice(str(error), "error")}
        shown = replace(shown, opened="", chosen=tuple(run for run in shown.chosen if run != row.id))
        return self._listed(shown, undo_text(deleted)) | self.opened.show(None) | self._compared(shown, over)


def _sorted(shown: Shown, column: str) -> Shown:
    if column not in COLUMN_TITLES:
        return shown
    is_down = not shown.is_down if shown.by == column else column not in TEXT_COLUMNS
    return replace(shown, by=column, is_down=is_down, most=ROWS_PER_PAGE)


def _choose(shown: Shown, run_id: str) -> tuple[Shown, str]:
    """The run is chosen for comparing, or no longer; and a notice when it cannot be."""
    if run_id in shown.chosen:
        return replace(shown, chosen=tuple(run for run in shown.chosen if run != run_id)), ""
    if len(shown.chosen) == MOST_RUNS:
        words = tr("You can compare at most {most} runs; remove one of them first.", most=MOST_RUNS)
        return shown, notice(words, "warning")
    return replace(shown, chosen=(*shown.chosen, run_id)), ""
