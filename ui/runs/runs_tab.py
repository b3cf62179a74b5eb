"""The Runs tab: every run at a glance, one of them opened, several compared, and the trash. Knows nothing of torch.

How a page looks at the runs (what it searches, opened and chose) is its own, so `live` tells only that something has
changed; the page then asks for what it shows. So nothing is sent while nothing happens, and no tick overwrites a note
that someone is writing.
"""

import threading
from dataclasses import replace

import gradio as gr

from core.problems import Problem, RunError
from core.runs.overview import Overview, search, sort
from core.runs.run_list import RunList
from core.workbench.workbench import Workbench
from ui.runs.compare_runs import losses_text, tables_text
from ui.runs.run_view import course_text, head_text, kept_text, log_text
from ui.runs.runs_table import HEADS, PAGE, WORDS_FIRST, Shown, chosen_text, table_text, trash_text, undo_text, visible
from ui.shared.clicks import CLICKS
from ui.shared.formatting import count, disk, notice, run_label
from ui.shared.line_chart import MOST_RUNS
from ui.shared.settings_form import Form
from ui.train.run_state_text import CAN_GO_ON
from ui.train.samples_view import samples_text

# Opened below a long table: brought to where the person looks, once for each run.
SHOW_OPENED = """
let before = '';
const look = () => {
    const id = element.querySelector('[data-opened]')?.dataset.opened ?? '';
    if (id && id !== before) element.scrollIntoView({block: 'start', behavior: 'smooth'});
    before = id;
};
look();
watch('value', look);
"""
OVER = [("steps", "step"), ("tokens", "tokens"), ("time", "time")]


class RunsTab:
    """Layout and handlers; `live` tells whether the runs have changed."""

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
        self._workbench, self._runs, self._trash = workbench, runs, workbench.trash
        self._form, self._preset, self._token, self._tab, self._tabs = form, preset, token, tab, tabs
        self._lock = threading.Lock()
        self._seen, self._changes = None, 0
        self.shown = gr.State(Shown())
        self.changes = gr.Textbox(visible="hidden")  # counts the changes that a page should know of
        self.search = gr.Textbox(
            label="Search", placeholder="Search name, model, data, note or status", max_lines=1, container=False,
            elem_id="runs-search",
        )  # fmt: skip
        self.said = gr.HTML(padding=False, elem_id="runs-said", js_on_load=CLICKS)
        self.table = gr.HTML(padding=False, elem_id="runs-table", js_on_load=CLICKS)
        self.chosen = gr.HTML(padding=False, elem_id="runs-chosen", js_on_load=CLICKS)
        with gr.Column(visible=False, elem_id="compare-runs") as self.comparing:
            self.over = gr.Radio(OVER, value="step", label="Losses over", elem_id="losses-over")
            self.losses = gr.HTML(padding=False, elem_id="losses")
            self.differ = gr.HTML(padding=False, elem_id="differ")
        with gr.Column(visible=False, elem_id="opened") as self.opened:
            self._lay_out_opened()
        with gr.Accordion("Trash", open=False, elem_id="trash") as self.trash:
            self.deleted = gr.HTML(padding=False, elem_id="deleted", js_on_load=CLICKS)

    def _lay_out_opened(self) -> None:
        self.head = gr.HTML(padding=False, elem_id="run-head", js_on_load=SHOW_OPENED)
        with gr.Row():
            self.name = gr.Textbox(
                label="Name", max_lines=1, max_length=200, elem_id="run-name", scale=1, min_width=190
            )
            self.note = gr.Textbox(
                label="Note", placeholder="what you tried, what came of it", max_lines=6, max_length=5000, scale=3,
                min_width=190, elem_id="run-note",
            )  # fmt: skip
        with gr.Row(elem_id="run-buttons"):
            self.save = gr.Button("Save name and note", size="sm", scale=0, min_width=80, elem_id="run-save")
            self.resume = gr.Button("Resume", size="sm", scale=0, min_width=80, elem_id="run-resume")
            self.delete = gr.Button("Delete", size="sm", scale=0, min_width=80, elem_id="run-delete")
            self.close = gr.Button("Close", size="sm", scale=0, min_width=80, elem_id="run-close")
        self.trouble = gr.HTML(padding=False, elem_id="run-trouble")
        self.kept = gr.HTML(padding=False, elem_id="run-kept", js_on_load=CLICKS)
        self.course = gr.HTML(padding=False, elem_id="run-course")
        self.samples = gr.HTML(padding=False, elem_id="run-samples")
        self.log = gr.HTML(padding=False, elem_id="run-log")
        self.folder = gr.Textbox(label="Folder", interactive=False, buttons=["copy"], max_lines=1, elem_id="run-folder")
        with gr.Accordion("Settings", open=False, elem_id="run-settings") as self.settings_box:
            self.settings = gr.Code(
                language="yaml", interactive=False, show_label=False, buttons=["copy", "download"], elem_id="run-yaml",
                show_line_numbers=False, max_lines=24,
            )  # fmt: skip

    def connect(self) -> None:
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        listed = [self.shown, self.said, self.table, self.chosen, self.trash, self.deleted]
        told = [self.head, self.kept, self.course, self.samples, self.log]
        viewed = [*told, self.folder, self.settings_box, self.settings]
        opened = [self.opened, self.name, self.note, self.resume, self.delete, self.trouble, *viewed]
        compared = [self.comparing, self.losses, self.differ]
        drawn = [*listed, *opened, *compared]
        # One after the other, and none left out: each begins with what the one before has left in `shown`.
        turn = hidden | {"concurrency_id": "runs", "concurrency_limit": 1, "trigger_mode": "multiple"}
        newest = turn | {"trigger_mode": "always_last"}
        looked = [self.shown, self.over]
        gr.on([self.changes.change, self._tab.select], self._refresh, looked, drawn, api_name="runs_changed", **newest)
        # Not input: that hands on the text as it was before the last key.
        self.search.change(self._search, [self.search, self.shown], listed, api_name="search_runs", **newest)
        for place in (self.said, self.table, self.chosen, self.deleted):
            place.asked(self._answer, looked, drawn, api_name=f"asked_in_{place.elem_id}", **turn)
        self.over.input(self._compared, looked, compared, api_name="losses_over", **turn)
        saved = [*listed, self.head, self.trouble]
        about = [self.shown, self.name, self.note]
        gr.on([self.save.click, self.name.submit], self._save, about, saved, api_name="save_about", **turn)
        self.delete.click(self._delete, looked, drawn, api_name="delete_run", **turn)
        self.close.click(self._close, [self.shown], drawn, api_name="close_run", **turn)
        self.resume.click(self._resume, [self.shown, self._token], [self.trouble], api_name="press_resume", **hidden)
        filled = [self._preset, *self._form.components.values(), self._tabs]
        self.kept.asked(self._use, [self._token], [self.trouble, *filled], api_name="use_run", **hidden)

    def live(self) -> dict:
        """A number that differs when there is something new to show."""
        now = visible(self._runs.rows()), self._trash.changed
        with self._lock:
            if now != self._seen:
                self._seen, self._changes = now, self._changes + 1
            return {self.changes: {"value": str(self._changes)}}

    # What is shown

    def _listed(self, shown: Shown, said: str = "") -> dict:
        rows = self._runs.rows(fresh=True)
        deleted = self._trash.runs()
        size = f" ({count(len(deleted), 'run')}, {disk(sum(run.size for run in deleted))})" if deleted else ""
        return {
            self.shown: shown,
            self.said: said,
            self.table: table_text(sort(search(rows, shown.search), shown.by, shown.is_down), len(rows), shown),
            self.chosen: chosen_text(rows, shown.chosen),
            self.trash: gr.update(label=f"Trash{size}"),
            self.deleted: trash_text(deleted, shown.is_emptying),
        }

    def _opened(self, shown: Shown) -> dict:
        """The opened run, without its name and note, which a person may be writing."""
        row = self._row(shown.opened)
        if row is None:
            return {self.opened: gr.update(visible=False), self.head: ""}
        run = self._runs.open(row.id)
        snapshot = run.snapshot()
        try:
            settings = run.config().to_yaml()
        except RunError:  # the head says what is wrong with them
            settings = ""
        return {
            self.opened: gr.update(visible=True),
            self.head: head_text(row),
            self.resume: gr.update(visible=row.status in CAN_GO_ON),
            self.delete: gr.update(
                interactive=not row.is_going_on, value="Delete (this run is going on)" if row.is_going_on else "Delete"
            ),
            self.kept: kept_text(run, snapshot),
            self.course: course_text(snapshot),
            self.samples: samples_text(snapshot),
            self.log: log_text(run),
            self.folder: str(run.folder.resolve()),
            self.settings_box: gr.update(visible=bool(settings)),
            self.settings: settings,
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
        """After a change: what this page shows, drawn anew; a notice with its Undo stays."""
        known = {row.id for row in self._runs.rows(fresh=True)}
        shown = replace(shown, chosen=tuple(run for run in shown.chosen if run in known))
        listed = self._listed(shown) | {self.said: gr.skip()}
        opened = self._opened(shown) if shown.opened else {}
        return listed | opened | self._compared(shown, over)

    def _search(self, text: str, shown: Shown) -> dict:
        return self._listed(replace(shown, search=text or "", most=PAGE)) | {self.said: gr.skip()}

    def _answer(self, shown: Shown, over: str, asked: gr.EventData) -> dict:
        """A press of one of the buttons inside the table, the notice or the trash."""
        run = getattr(asked, "run", "")
        try:
            match asked.ask:
                case "open":
                    return self._open(run, shown)
                case "sort":
                    return self._listed(_sorted(shown, asked.by))
                case "more":
                    return self._listed(replace(shown, most=shown.most + PAGE))
                case "choose":
                    shown, said = _choose(shown, self._runs.find(run).id)
                    return self._listed(shown, said) | self._compared(shown, over)
                case "clear":
                    shown = replace(shown, chosen=())
                    return self._listed(shown) | self._compared(shown, over)
                case "put-back":
                    back = self._trash.put_back(asked.deleted)
                    return self._listed(shown, notice(f"{run_label(back)} is back.", "good"))
                case "empty" | "keep" as ask:
                    return self._listed(replace(shown, is_emptying=ask == "empty"))
                case "empty-now":
                    freed = notice(f"The trash is empty; {disk(self._trash.empty())} are free again.", "good")
                    return self._listed(replace(shown, is_emptying=False), freed)
        except RunError as error:
            return self._listed(shown, notice(str(error), "error"))
        return {}

    def _open(self, run_id: str, shown: Shown) -> dict:
        """Raises RunError."""
        row = self._runs.find(run_id)
        shown = replace(shown, opened=row.id)
        return self._listed(shown) | self._opened(shown) | {self.name: row.name, self.note: row.note, self.trouble: ""}

    def _close(self, shown: Shown) -> dict:
        shown = replace(shown, opened="")
        return self._listed(shown) | self._opened(shown)

    def _save(self, shown: Shown, name: str, note: str) -> dict:
        try:
            self._runs.describe(shown.opened, name or "", note or "")
        except RunError as error:
            return {self.trouble: notice(str(error), "error")}
        row = self._runs.find(shown.opened)
        return self._listed(shown) | {self.head: head_text(row), self.trouble: notice("Saved.", "good")}

    def _delete(self, shown: Shown, over: str) -> dict:
        try:
            row = self._runs.find(shown.opened)
            if row.is_going_on:
                raise RunError("This run is going on; stop it before you delete it.")
            deleted = self._trash.take(row.folder)
        except RunError as error:
            return {self.trouble: notice(str(error), "error")}
        shown = replace(shown, opened="", chosen=tuple(run for run in shown.chosen if run != row.id))
        return self._listed(shown, undo_text(deleted)) | self._opened(shown) | self._compared(shown, over)

    def _resume(self, shown: Shown, token: str) -> str:
        try:
            self._workbench.resume(self._runs.find(shown.opened).id, token or None)
        except Problem as error:
            return notice(str(error), "error")
        return notice("It goes on; the Train tab shows how.", "good")

    def _use(self, token: str, asked: gr.EventData) -> dict:
        """Loads the adapter of a run or of a checkpoint, or sets the form to train on from it."""
        step = int(asked.step) if asked.step else None
        try:
            run = self._runs.open(asked.run)
            if asked.ask == "load":
                self._workbench.lab.load_run(run.id, token, step=step)
                name = run.name if step is None else f"{run.name}, step {step:,},"
                words = f"{name} is loaded: ask base and tuned on the Compare tab."
                return {self.trouble: notice(words, "good")}
            place = run.id if step is None else f"{run.id}/checkpoints/{run.checkpoint(step).folder.name}"
            config = run.config()
        except Problem as error:
            return {self.trouble: notice(str(error), "error")}
        config.adapter.continue_from = place
        presets = {name for _, name in self._preset.choices}
        words = f"The Train tab now holds the settings of this run, to go on from {place}; press Start there."
        return self._form.fill(config) | {
            self.trouble: notice(words, "good"),
            self._preset: run.name if run.name in presets else gr.skip(),
            self._tabs: gr.Tabs(selected="train"),
        }


def _sorted(shown: Shown, column: str) -> Shown:
    if column not in HEADS:
        return shown
    is_down = not shown.is_down if shown.by == column else column not in WORDS_FIRST
    return replace(shown, by=column, is_down=is_down, most=PAGE)


def _choose(shown: Shown, run_id: str) -> tuple[Shown, str]:
    """Chosen for comparing, or no longer; and what is to be said of it."""
    if run_id in shown.chosen:
        return replace(shown, chosen=tuple(run for run in shown.chosen if run != run_id)), ""
    if len(shown.chosen) == MOST_RUNS:
        return shown, notice(
            f"At most {MOST_RUNS} runs can be compared at once; take one of them out first.", "warning"
        )
    return replace(shown, chosen=(*shown.chosen, run_id)), ""
