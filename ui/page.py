"""The whole page from its tabs; the timer that keeps it live; reattaching to a run when it loads.

A page keeps no state of its own: it draws the state of the Workbench once a second (`ui.live`). So a reload or a second
browser tab shows the same run.
"""

import signal
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from core.problems import tr
from core.runs.run_folder import find_run
from core.runs.uploads import sweep_uploads, uploads_dir
from core.settings.presets import default_preset
from core.visitors.policy import Policy
from core.visitors.visits import Visits
from core.workbench.workbench import Workbench
from ui.access import UPLOAD_LIMIT, Gate
from ui.api import add_api
from ui.compare.blind_tab import BlindTab
from ui.compare.chat_tab import CompareTab
from ui.compare.measure_tab import MeasureTab
from ui.compressed import CompressedPage
from ui.data.data_tab import DataTab
from ui.desktop.routes import routes
from ui.desktop.window import show_in_window
from ui.export.download import Downloads
from ui.export.export_tab import ExportTab
from ui.first_state import FirstState
from ui.gradio_patches import poll_queue_less
from ui.live import Live, OnceOpen
from ui.model.model_tab import ModelTab
from ui.model.welcome import Welcome
from ui.on_load import ON_LOAD
from ui.remembered import remember
from ui.report.proof_and_report_tab import ProofTab
from ui.report.recipe_page import report_routes
from ui.runs.runs_tab import RunsTab
from ui.shared.errors import follow_settings
from ui.shared.html import render
from ui.shared.settings_form import Form
from ui.sidebar import Sidebar
from ui.source import PageSource, script_routes
from ui.train.before_start import BeforeStart
from ui.train.next_steps import NextSteps
from ui.train.train_tab import TrainTab
from ui.visitors import VisitorGate, as_seen_here

UI = Path(__file__).parent
# Where two rules are equally specific, the later one counts: keep the order.
STYLES = [
    UI / name
    for name in (
        "style.css", "runs/runs.css", "compare/compare.css", "train/fit.css", "train/form.css", "train/run.css",
        "train/queue.css", "shared/charts.css", "export/export.css", "model/welcome.css", "model/recipe.css",
        "shared/everyone.css",
    )
]  # fmt: skip
EXPORT_SECONDS = 60  # for an export to remove what it has written; some parts of one, such as a download, take longer
FAVICON = UI / "icons/favicon.svg"
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans"]
FONT += ["Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", "sans-serif"]  # Korean's


def theme() -> gr.themes.Base:
    return gr.themes.Default(
        primary_hue="teal",
        neutral_hue="slate",
        spacing_size="sm",
        radius_size="sm",
        text_size="sm",
        font=FONT,
        font_mono=["ui-monospace", "Cascadia Mono", "Menlo", "monospace"],
    ).set(
        # Darker than the theme's, so that white text on it can be read.
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_text_color="white",
        button_cancel_background_fill=gr.themes.colors.red.c600,
        button_cancel_background_fill_hover=gr.themes.colors.red.c700,
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def build_page(workbench: Workbench) -> tuple[gr.Blocks, Live]:
    """The page, and what keeps its parts up to date, whose route must be served with it."""
    presets = {preset.name: preset for preset in workbench.presets()}
    chosen = default_preset(workbench.machine.is_gpu)
    chosen = chosen if chosen in presets else next(iter(presets))  # a damaged preset is left out
    form = Form(presets[chosen].config, uploads_dir(workbench.runs_dir))
    with gr.Blocks(title="HearthTune", fill_width=True, analytics_enabled=False) as page:
        with gr.Row(elem_id="frame"):
            side = Sidebar(workbench)
            with gr.Column(elem_id="work"), gr.Tabs(elem_id="tabs") as tabs:
                with gr.Tab(tr("Model"), id="model", elem_id="model-tab"):
                    welcome = Welcome(workbench, form)
                    model = ModelTab(workbench, form, presets, chosen)
                with gr.Tab(tr("Data"), id="data", elem_id="data-tab") as data_tab:
                    data = DataTab(workbench, form, model.token, data_tab)
                with gr.Tab(tr("Train"), id="train", elem_id="train-tab"):
                    train = TrainTab(workbench, form, model.other, model.preset, model.token)
                with gr.Tab(tr("Compare"), id="compare", elem_id="compare-tab"), gr.Tabs(elem_id="lab") as lab:
                    with gr.Tab(tr("Chat"), id="chat", elem_id="chat-tab"):
                        compare = CompareTab(workbench, model.token)
                    with gr.Tab(tr("Blind test"), id="blind", elem_id="blind-tab"):
                        blind = BlindTab(workbench, model.token)
                    with gr.Tab(tr("Measure"), id="measure", elem_id="measure-tab"):
                        measure = MeasureTab(workbench, model.token)
                    with gr.Tab(tr("Proof and report"), id="proof", elem_id="proof-tab"):
                        proof = ProofTab(workbench, model.token)
                with gr.Tab(tr("Runs"), id="runs", elem_id="runs-tab") as runs_tab:
                    runs = RunsTab(workbench, workbench.runs, form, model.preset, model.token, runs_tab, tabs)
                with gr.Tab(tr("Export"), id="export", elem_id="export-tab"):
                    export = ExportTab(workbench, model.token, compare.sampling)
        first = (model, train)
        later = {
            "data-tab": [data], "train-tab": [train.fit],
            "chat-tab": [compare], "blind-tab": [blind], "measure-tab": [measure], "proof-tab": [proof],
            "runs-tab": [runs], "export-tab": [export],
        }  # fmt: skip
        for tab in (*first, *(tab for inside in later.values() for tab in inside)):
            tab.connect()
        later["data-tab"].append(data.tokens)
        for place, part in _once_open(form, data, compare, blind, export).items():
            later[place].append(part)
        train.follow(model.preset_chosen)
        welcome.connect(model.preset, model.token, tabs, train.trouble)
        BeforeStart(workbench, form, model.preset, model.token).connect(train.trouble, tabs)
        export.opened_from(tabs, train.end, runs.opened.kept)
        NextSteps(workbench, tabs, lab, measure.run, model.token).opened_from(train.end, train.trouble)
        drawn = dict.fromkeys(model.other.parts, model.other.text_now)
        follow_settings(form, model.trouble, train.trouble, train.fit.trouble, drawn=drawn, inputs=[model.preset])
        queue = [train.queue] if train.queue else []
        live = Live([side, welcome, *first, *queue], later, begins_with=lambda: _begins_with(workbench, model, tabs))
        live.connect(page, [*blind.actions, *train.actions], [tabs, lab])

        # Before the page asks for the run: where there is one, its settings and its tab come last.
        entered = [model.preset, *form.kept, compare.prompt, *compare.sampling.inputs]
        remember(page, entered, tabs, lab)
        _reattach_on_load(page, workbench, form, model.preset, tabs)
        page.load(None, None, None, js=ON_LOAD, api_visibility="private", show_progress="hidden", queue=False)
        add_api(workbench, chosen)
    return page, live


def _once_open(
    form: Form, data: DataTab, compare: CompareTab, blind: BlindTab, export: ExportTab
) -> dict[str, OnceOpen]:
    """What need not be there before its tab is, by tab: with it, a page would begin with more requests."""
    sampling = compare.sampling
    return {
        "data-tab": OnceOpen(data.upload, *form.checkboxes("data")),
        "train-tab": OnceOpen(*form.checkboxes("adapter", "training")),
        "chat-tab": OnceOpen(compare.alone, compare.differ, sampling.temperature, sampling.top_p),
        "blind-tab": OnceOpen(blind.file, blind.temperature),
        "export-tab": OnceOpen(export.test, *export.cards.checkboxes),
    }


def _begins_with(workbench: Workbench, model: ModelTab, tabs: gr.Tabs) -> dict:
    """A page has the presets that there are now, and while a run is in progress it begins with that run."""
    return model.presets.live() | ({tabs: {"selected": "train"}} if workbench.is_training else {})


def _reattach_on_load(page: gr.Blocks, workbench: Workbench, form: Form, preset: gr.Dropdown, tabs: gr.Tabs) -> None:
    def reattach() -> dict:
        """A page that opens while a run is in progress shows that run, and its settings."""
        if not workbench.is_training:
            return dict.fromkeys(filled, gr.skip())
        run = find_run(workbench.runs_dir, workbench.snapshot.run_id)
        presets = {each.name for each in workbench.presets()}
        shown = run.preset if run.preset in presets else gr.skip()
        return form.fill(run.config()) | {preset: shown, tabs: gr.Tabs(selected="train")}

    filled = [preset, tabs, *form.components.values()]
    page.load(reattach, None, filled, api_visibility="private", show_progress="hidden", queue=False)


def serve(
    workbench: Workbench,
    host: str,
    port: int,
    share: bool,
    auth: tuple[str, str] | None,
    policy: Policy | None,
    inbrowser: bool,
    in_window: bool,
) -> None:
    """Serves the page until the program ends; a run in progress is then stopped and kept.

    With `auth` the page is for those who log in; with `policy` it is for visitors, who may do what that says. Either
    way it answers under any host name. A window ends with the program, and the program with its window.
    """
    sweep_uploads(workbench.runs_dir)
    gates = [
        Middleware(CompressedPage),
        Middleware(PageSource),
        Middleware(Gate, needs_login=auth is not None, any_host=policy is not None or auth is not None),
    ]
    visits, seen = None, workbench
    if policy is not None:
        visits = Visits(workbench, policy)
        seen = as_seen_here(visits)
        gates.append(Middleware(VisitorGate, visits=visits))
        visits.keep_tidy()
    page, live = build_page(seen)
    gates.append(Middleware(FirstState, draw=live.first))
    others = [live.route(), Downloads(seen).route(), *routes(workbench.runs_dir), *report_routes(workbench, policy)]
    poll_queue_less(page)
    page.launch(
        server_name=host,
        server_port=port,
        share=share,
        auth=auth,
        inbrowser=inbrowser,
        theme=theme(),
        css_paths=STYLES,
        head=str(render("head.html")),
        favicon_path=FAVICON,
        allowed_paths=[str(workbench.runs_dir / "prepared")],  # the list of rows left out, to download
        footer_links=[],
        max_file_size=policy.upload_bytes if policy else UPLOAD_LIMIT,
        app_kwargs={"middleware": gates, "routes": others + script_routes()},
        run_history=False,  # it would keep everything typed in the browser, even a token
        # Environment variables could switch these on, and each adds routes that bypass the gate.
        enable_monitoring=False,
        mcp_server=False,
        num_workers=0,
        ssr_mode=False,
        prevent_thread_lock=True,
        quiet=True,  # else it prints how to share the page, in words for programmers
        # Else it asks its own address and gives up after three seconds, which a busy machine may need.
        _frontend=False,
    )
    print(tr("HearthTune is at {address} (Ctrl-C ends it).", address=page.local_url), flush=True)
    if in_window:
        show_in_window(page, live, workbench)
    _stay(page, visits, workbench)


def _stay(page: gr.Blocks, visits: Visits | None, workbench: Workbench) -> None:
    """Returns when the page has been closed, or the program was asked to end."""
    # A Space or a service is ended by SIGTERM, which must stop a run as cleanly as Ctrl-C does. SIGINT would not do:
    # a program that a script starts in the background ignores it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Only now: importing Unsloth keeps the processor busy for ten seconds, and the page comes first.
    workbench.warm_up()
    if visits is None:
        workbench.queue.work()
    try:
        page.block_thread()
    finally:
        if visits is not None:
            visits.close()
        workbench.queue.close()  # first, so that the run that is stopped now goes on at the next start
        workbench.exporting.stop()  # which removes what it has written: else gigabytes would stay
        if workbench.stop():
            workbench.wait()
        workbench.exporting.wait(EXPORT_SECONDS)
