"""Runs that outlive the day and the place they were started in: killed, moved, continued, and used on another day."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from core.evaluation.record import Source
from core.problems import RunError
from core.runs.adapter_ref import BASE, Pane
from core.runs.adapter_to_continue import find_adapter
from core.runs.run_folder import Run, find_run, open_run, owner_lives
from core.workbench.measure_run import evaluate_run
from core.workbench.workbench import Workbench
from tests.conftest import PROJECT, adapter_weights, differing, small_config
from tests.runs.test_run_folder import OWNER
from tests.workbench.conftest import refused
from ui.report.report import write_report
from ui.terminal.commands import resume_and_report

DATED = (
    "{{ bos_token }}It is {{ strftime_now('%d %b %Y') }}.{% for message in messages %} {{ message.role }}: "
    "{{ message.content | trim }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} assistant: {% endif %}"
)


@pytest.fixture(scope="module", autouse=True)
def short_answers():
    """How long the answers to the run's own prompts may be does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.training.sample_answers.MAX_NEW_TOKENS", 8)
        yield


@pytest.fixture(scope="module")
def config(stories, rows, tmp_path_factory):
    """Settings of a run whose prompts print the date. The model's folder is named by a relative path."""
    model = Path(shutil.copytree(stories, tmp_path_factory.mktemp("dated") / "model", copy_function=shutil.copyfile))
    model.chmod(0o755)
    (model / "chat_template.jinja").write_text(DATED, encoding="utf-8")
    return small_config(
        os.path.relpath(model), rows, "data.prompt_template=chat", "training.max_steps=3", "training.save_steps=1",
        "training.save_total_limit=9", "training.sample_prompts=[Say red.]", "training.eval_steps=3",
    )  # fmt: skip


@pytest.fixture(scope="module")
def bench(unsloth, config, tmp_path_factory) -> Workbench:
    """With a run "first" that was completed."""
    bench = Workbench(tmp_path_factory.mktemp("bench") / "runs")
    bench.start(config, "first")
    assert bench.wait(120).status == "completed", bench.snapshot.message
    return bench


@pytest.fixture(scope="module")
def first(bench) -> Run:
    (row,) = [row for row in bench.runs.rows(fresh=True) if row.name == "first"]
    return bench.runs.open(row.id)


@pytest.fixture
def tomorrow(monkeypatch) -> date:
    """The day after today, to whoever asks what day it is."""

    class Later(date):
        @classmethod
        def today(cls):
            return super().today() + timedelta(days=1)

    class LaterTime(datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(days=1)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", LaterTime)
    for module in ("core.runs.run_folder", "core.workbench.rows_of_the_form"):
        monkeypatch.setattr(f"{module}.date", Later)
    return Later.today()


def killed(run: Run, folder: Path, about: dict | None = None) -> Run:
    """A copy of a completed run as it was after its first step, when its program was killed."""
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("adapter", "summary.json", "step-[23]"))
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    last = next(number for number, line in enumerate(lines) if json.loads(line)["type"] == "checkpoint")
    (folder / "events.jsonl").write_text("".join(lines[: last + 1]), encoding="utf-8")
    known = json.loads((folder / "run.json").read_text()) | {"pid": 2**22 + 1}  # more than any process has
    (folder / "run.json").write_text(json.dumps(known if about is None else about))
    return open_run(folder)


@pytest.mark.parametrize("form", ["{0}", "{0}/", "./{1}", "{1}/", "{2}"])
def test_a_run_is_found_by_its_folder_anywhere(first, runs_dir, tmp_path, monkeypatch, form):
    place = killed(first, tmp_path / "else where" / "my run").folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = form.format(place, "else where/my run", "~/else where/my run")
    found = find_run(runs_dir, wanted)
    assert (found.folder, found.id, found.snapshot().status) == (place, "my run", "interrupted")
    checkpoint = place / "checkpoints" / "step-1"
    assert find_adapter(runs_dir, f"{wanted.rstrip('/')}/checkpoints/step-1/") == checkpoint
    with refused(RunError, run="my run"):
        find_adapter(runs_dir, wanted)  # its program died before it wrote an adapter
    shutil.copytree(first.adapter_dir, place / "adapter")
    assert find_adapter(runs_dir, wanted) == place / "adapter"


def test_a_run_in_progress_elsewhere_is_left_alone(runs_dir, tmp_path):
    command = [sys.executable, "-c", OWNER, str(tmp_path / "others")]
    with subprocess.Popen(command, cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        run = open_run(tmp_path / "others" / owner.stdout.readline().strip())
        with refused(RunError, run=run.id):
            Workbench(runs_dir).resume(f"{run.folder}/")
        assert run.snapshot().status == "training" and owner_lives(run.folder)
        owner.kill()
    assert find_run(runs_dir, str(run.folder)).snapshot().status == "interrupted"


def test_a_killed_run_elsewhere_ends_as_if_nothing_had_happened_also_on_another_day(
    first, runs_dir, tmp_path, tomorrow, capfd
):
    place = killed(first, tmp_path / "elsewhere" / first.id).folder
    assert resume_and_report(runs_dir, os.path.relpath(place) + "/", as_json=True) == 0
    told = json.loads(capfd.readouterr().out)
    run = open_run(place)
    assert (told["status"], told["run_dir"], run.prompt_date) == ("completed", str(place), date.today())
    assert differing(adapter_weights(run), adapter_weights(first)) == []
    then, now = first.snapshot(), run.snapshot()
    assert [step.loss for step in now.steps] == [step.loss for step in then.steps]
    assert [one.answers for one in now.samples] == [one.answers for one in then.samples]
    assert any(f"{date.today():%d %B %Y}".removeprefix("0") in note for note in now.receipt.notes)
    assert not runs_dir.exists()  # everything is where the run is


def test_a_run_of_an_earlier_version_has_the_date_of_its_first_step(first, tmp_path, tomorrow):
    old = killed(first, tmp_path / first.id, about={"name": "first"})
    assert old.prompt_date == date.today() < tomorrow
    old.take_over()  # as when it is resumed
    assert json.loads((old.folder / "run.json").read_text())["prompt_date"] == date.today().isoformat()
    (old.folder / "run.json").write_text('{"prompt_date": "soon"}')
    assert old.prompt_date == date.today()
    (old.folder / "events.jsonl").unlink()
    assert old.prompt_date == tomorrow  # without a step there are no rows to agree with


def test_prompts_and_measures_have_the_date_of_the_run(bench, first, tomorrow, monkeypatch):
    import core.workbench.lab as lab

    day = f"{first.prompt_date:%d %b %Y}"  # not that of the test, which may begin before midnight
    bench.lab.load_run(first.id)
    asked, stream = [], lab.stream

    def watched(loaded, prompts, *more):
        asked.extend(prompts)
        return stream(loaded, prompts, *more)

    monkeypatch.setattr(lab, "stream", watched)
    messages = [{"role": "user", "content": "Say red."}]
    panes = [BASE, Pane(first.id), Pane(first.id, 2)]
    list(bench.lab.answer(panes, [messages] * 3, lab.Sampling(max_new_tokens=1)))
    assert asked == [f"<s>It is {day}. user: Say red. assistant: "] * 3
    found = evaluate_run(bench.lab, first, Source(), lambda: False, lambda share, words: None)
    read = [*found.gained, *found.lost, *found.differing]
    assert found.note == "" and read and all(row.question.startswith(f"It is {day}. ") for row in read)


def test_checked_rows_are_read_again_the_next_day_only_if_they_print_the_date(bench, config, request):
    bench.load_model(config.model)
    plain = config.with_settings(["data.prompt_template=alpaca"])
    before = [bench._preparation.prepare(settings, bench._slot.loaded) for settings in (config, plain)]
    assert before[0].prompt_date == before[1].prompt_date == date.today() and bench.has_checked(plain)
    tomorrow = request.getfixturevalue("tomorrow")
    assert bench.has_checked(plain)
    bench._preparation.prepare(config, bench._slot.loaded, prompt_date=date.today())
    assert not bench.has_checked(config)
    again = bench._preparation.prepare(config, bench._slot.loaded)
    assert again.prompt_date == tomorrow and bench.has_checked(config)


def test_a_run_that_continues_another_can_be_used_like_any(bench, first, config, wait_until):
    config = config.with_settings(["training.sample_prompts=[]", "data.validation_share=0"])
    further = config.with_settings([f"adapter.continue_from={first.folder}/", "training.max_steps=500"])
    second = bench.start(further, "second")
    wait_until(lambda: len(bench.snapshot.steps) >= 1 or bench.snapshot.is_over, "a step")
    assert bench.stop() and bench.wait(120).status == "stopped", bench.snapshot.message
    settings = json.loads((second.adapter_dir / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == config.model.model_name
    # As earlier versions wrote it: the folder that the base was loaded from.
    wrong = settings | {"base_model_name_or_path": str(Path(config.model.model_name).resolve())}
    for folder in (second.adapter_dir, second.checkpoints()[-1].folder):
        (folder / "adapter_config.json").write_text(json.dumps(wrong))
    done = len(second.snapshot().steps)
    (second.folder / "config.yaml").write_text(
        second.config().with_settings([f"training.max_steps={done + 1}"]).to_yaml(), encoding="utf-8"
    )
    bench.resume(second.id)
    assert bench.wait(120).status == "completed", bench.snapshot.message
    bench.lab.load_run(second.id)
    third = bench.start(config.with_settings([f"adapter.continue_from={second.id}", "training.max_steps=1"]), "third")
    assert bench.wait(120).status == "completed", bench.snapshot.message
    settings = json.loads((third.adapter_dir / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == config.model.model_name


def test_two_runs_with_one_id_are_told_apart(bench, first, tmp_path, tomorrow):
    copied = open_run(Path(shutil.copytree(first.folder, tmp_path / first.id)))
    for place, run in ((first.id, first), (str(copied.folder), copied), (first.id, first)):
        bench.lab.load_run(place)
        pane = bench.lab.loaded_pane
        assert pane == bench.lab.pane_of(run)
        assert bench._slot.contents.adapters[pane].folder == run.adapter_dir
    assert bench.lab.pane_of(first).key == first.id and bench.lab.pane_of(copied).key == str(copied.folder)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Say red.\n")
    source = Source(kind="prompts", path=str(prompts))
    found = evaluate_run(bench.lab, copied, source, lambda: False, lambda share, words: None)
    assert [row.question for row in found.differing] == ["Say red."]  # without what the template puts around it
    assert bench._slot.contents.adapters[bench.lab.loaded_pane].folder == copied.adapter_dir
    assert (copied.folder / "evaluations").is_dir()


def test_a_report_of_a_killed_run_says_so(first, tmp_path, runs_dir):
    place = killed(first, tmp_path / "elsewhere").folder
    text = write_report(find_run(runs_dir, f"{place}/")).read_text(encoding="utf-8")
    assert "The program ended before the run did." in text
