"""One report over all stages of a recipe, as one HTML file like that of a run: it opens offline and runs no script."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from core.disk.atomic import write_whole
from core.evaluation.record import Evaluation
from core.evaluation.saved import load_evaluations
from core.problems import RunError, tr, trn
from core.runs.run_folder import Run, find_run
from core.runs.snapshot import Snapshot
from core.settings.recipes import BASE
from core.workbench.recipe_record import DataFacts, Record, Trained, record_folder
from ui.compare.measure_view import evaluation_text
from ui.data.length_chart import length_chart
from ui.export.export_view import tested_text
from ui.report.price_view import prices_text
from ui.report.report import bounded, libraries, whole_page, without_path
from ui.report.report_parts import TEMPLATE, cut, settings_text, short_name, short_names, thinned
from ui.report.stage_memory import memory_rows, memory_sum
from ui.shared.formatting import duration_or_dash, loss, percent, when
from ui.shared.html import render_part
from ui.shared.run_charts import MOST_RUNS, run_chart

RECIPE, REPORT_FILE = "report/recipe.html", "report.html"
QUESTION_CHARACTERS, ANSWER_CHARACTERS, MOST_TO_READ = 400, 800, 12
KINDS = {"completed": "good", "failed": "error"}  # of notices


@dataclass(frozen=True)
class _Done:
    """A stage that was started, with its run."""

    trained: Trained
    title: str
    run: Run
    snapshot: Snapshot


def write_recipe_report(runs_dir: Path, record: Record) -> Path:
    """Writes the report beside the record, replacing an older one. Raises OSError."""
    place = record_folder(runs_dir, record.id) / REPORT_FILE
    write_whole(place, make_recipe_report(runs_dir, record))
    return place


def make_recipe_report(runs_dir: Path, record: Record) -> str:
    """The text of the file. Parts for which the recipe has nothing yet are left out, and runs that were deleted."""
    done = list(_done(runs_dir, record))
    parts = [bounded(title, html) for title, html in _parts(record, done) if html]
    return whole_page(record.recipe.title, parts, [runs_dir, *(one.run.folder for one in done)])


def _done(runs_dir: Path, record: Record) -> Iterator[_Done]:
    for trained in record.runs:
        try:
            run = find_run(runs_dir, trained.run_id)
        except RunError:
            continue
        title = record.recipe.stage(trained.stage).shown
        title = f"{trained.model} · {title}" if trained.model else title
        yield _Done(trained, title, run, run.snapshot())


def _parts(record: Record, done: list[_Done]) -> Iterator[tuple[str, Markup]]:
    """The parts, each with a title of its own, in the order of the report."""
    recipe, last = record.recipe, [one for one in done if one.trained.stage == record.recipe.last.name]
    yield tr("Summary"), _summary(record)
    for facts in record.facts:
        yield tr("Rows"), _looked(record, facts)
    yield tr("Example"), _examples(record) if record.examples else Markup()
    with_steps = [(one.title, one.snapshot) for one in done if one.snapshot.steps][:MOST_RUNS]
    curves = render_part(TEMPLATE, "titled_card", title=tr("Curves"), inner=run_chart(with_steps, "step"))
    yield tr("Curves"), curves if with_steps else Markup()
    for one in done:
        yield one.title, _stage(record, one)
    yield tr("The questions"), _answers(record) if record.answers else Markup()
    for one in last:
        for found in load_evaluations(one.run.folder)[:1]:
            yield tr("Measures"), _measured(one, found)
    yield tr("To take home"), _exports(record)
    for one in last:
        yield tr("Self-tests of exports"), tested_text(one.run)
    for stage in recipe.stages:
        title = tr("Settings of {stage}", stage=stage.shown)
        yield title, render_part(RECIPE, "settings", title=title, inner=settings_text(stage.config))
    yield tr("Libraries"), libraries()


def _summary(record: Record) -> Markup:
    recipe = record.recipe
    model = ", ".join(recipe.models) or short_name(recipe.stages[0].config.model.model_name)
    rows = [
        (tr("Started"), when(record.made)),
        (tr("What it does"), recipe.description),
        (tr("Model"), model),
        (tr("Stages"), ", ".join(stage.shown for stage in recipe.stages)),
        (tr("Machine"), record.device),
    ]
    done = tr("{done} of {all} steps are done.", done=record.done, all=len(record.steps))
    message = without_path(tr(record.message)) if record.message else done
    if record.message and record.status != "completed":
        message = f"{message} {done}"
    kind = KINDS.get(record.status, "warning")
    shown = [(name, value) for name, value in rows if value]
    return render_part(TEMPLATE, "summary", message=message, kind=kind, rows=shown)


def _looked(record: Record, found: DataFacts) -> Markup:
    stage = record.recipe.stage(found.stage)
    used = found.train_rows + found.validation_rows
    rows = [
        (tr("Dataset"), short_names(stage.config.data.path)),
        (tr("Rows"), tr("{train:,} to train on, {validation:,} for validation", train=found.train_rows,
                        validation=found.validation_rows)),
        (tr("Left out"), f"{found.left_out:,}" if found.left_out else ""),
        (tr("Tokens"), tr("{tokens:,}, {share} of them trained on", tokens=found.tokens,
                          share=percent(found.trained_tokens / max(found.tokens, 1)))),
        (tr("Length"), tr("{mean:,.0f} tokens on average, {longest:,} in the longest row",
                          mean=found.tokens / max(used, 1), longest=found.longest)),
        (tr("Cut off"), trn("{count:,} row", "{count:,} rows", found.cut_rows) if found.cut_rows else ""),
    ]  # fmt: skip
    first = next(iter(record.recipe.models), "")
    return render_part(
        RECIPE,
        "looked",
        title=tr("Rows of {stage}", stage=stage.shown),
        rows=[(name, value) for name, value in rows if value],
        warnings=found.warnings,
        chart=length_chart(found, record.recipe.config_of(stage, first).model.max_seq_length),
        example=cut(found.example, ANSWER_CHARACTERS),
    )


def _examples(record: Record) -> Markup:
    found = [
        {
            "model": one.model,
            "question": cut(one.question, ANSWER_CHARACTERS),
            "reference": cut(one.reference, ANSWER_CHARACTERS),
            "answer": cut(one.answer, ANSWER_CHARACTERS),
        }
        for one in record.examples
    ]
    return render_part(RECIPE, "examples", found=found)


def _stage(record: Record, one: _Done) -> Markup:
    """What a stage took and came to; and the share of the weights that trained."""
    snapshot, receipt, finished = one.snapshot, one.snapshot.receipt, one.snapshot.finished
    rows = [(tr("Steps"), f"{snapshot.step:,}"), (tr("Training took"), duration_or_dash(snapshot.seconds))]
    if receipt:
        share = f"{receipt.trainable_parameters / max(receipt.total_parameters, 1):.2%}"
        trained = {"trained": receipt.trainable_parameters, "total": receipt.total_parameters, "share": share}
        rows.append((tr("Trained weights"), tr("{trained:,} of {total:,} ({share})", **trained)))
    if chosen := snapshot.batch_chosen:
        sizes = {"batch": chosen.batch, "accumulation": chosen.accumulation}
        tried = ", ".join(f"{size:,}" for size, _ in chosen.tried)
        words = tr("{batch:,} × {accumulation:,} rows per step; tried: {tried}", **sizes, tried=tried)
        rows.append((tr("Batch found"), words))
    if finished:
        rows.append((tr("Mean training loss"), loss(finished.train_loss)))
        rows.append((tr("Validation loss"), loss(finished.eval_loss)))
    if snapshot.status != "completed":
        rows.append((tr("Status"), without_path(tr(snapshot.message)) or tr(snapshot.status)))
    is_gpu = bool(snapshot.memory) and snapshot.memory[-1].reserved_gib is not None
    memory = memory_rows(record.device, finished) if finished else []
    sum_in_words = memory_sum(snapshot.estimated, is_gpu) if snapshot.estimated else ""
    return render_part(RECIPE, "stage", title=one.title, rows=rows, memory=memory, sum=sum_in_words)


def _answers(record: Record) -> Markup:
    """One row a question. Columns are base and stages; with several models, the models, each with these."""
    recipe = record.recipe
    by = {BASE: tr("base")} | {stage.name: stage.shown for stage in recipe.stages}

    def answer(number: int, who: str, model: str = ""):
        found = record.answers_of(who, model)
        return cut(found[number], ANSWER_CHARACTERS) if number < len(found) else None

    def cell(number: int, model: str, who: list[str], has_names: bool) -> list[tuple]:
        cells = [(one, answer(number, one, model)) for one in who]
        style = {BASE: "base"}
        return [
            (style.get(one, "tuned"), by[one] if has_names else "", text) for one, text in cells if text is not None
        ]

    rows = []
    for number, question in enumerate(recipe.questions):
        if recipe.models:
            cells = [cell(number, model, list(by), True) for model in recipe.models]
        else:
            cells = [cell(number, "", [one], False) for one in by]
        rows.append((cut(question, QUESTION_CHARACTERS), cells))
    return render_part(RECIPE, "answers", columns=list(recipe.models) or list(by.values()), rows=rows)


def _measured(one: _Done, found: Evaluation) -> Markup:
    """The measures, the errors of prices if the answers are prices, and the answers to read."""
    parts = [evaluation_text(thinned(found), lambda run_id: one.title), prices_text(found)]
    rows = [
        [cut(text, ANSWER_CHARACTERS) for text in (row.reference or "", row.base, row.tuned)]
        for row in found.answers[:MOST_TO_READ]
    ]
    title = tr("Answers to read: a person's, the base's and the tuned model's")
    if rows:
        parts.append(render_part(RECIPE, "to_read", title=title, rows=rows))
    return Markup().join(parts)


def _exports(record: Record) -> Markup:
    rows = []
    for made in record.exports:
        kind = f"{made.model} · {made.to}" if made.model else made.to
        run_id = record.run_of(record.recipe.last.name, made.model)
        rows.append((kind, made.url or f"{run_id}/{made.out}"))
    return render_part(RECIPE, "made", rows=rows) if rows else Markup()
