"""What is a visitor's own: others neither see nor touch it, and in a demo all of it is gone after an hour."""

import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from core.answering.sampling import Sampling
from core.evaluation.record import Source
from core.export.record import load_exports
from core.export.wanted import Wanted
from core.problems import Busy, ModelError, NotAllowed, RunError
from core.runs.adapter_ref import BASE, Pane
from core.runs.events import StatusChanged
from core.runs.run_folder import create_run, open_run
from core.settings.presets import find_preset
from core.visitors.policy import DEMO
from core.visitors.run_queue import RunQueue, Waiting
from core.visitors.visits import Visits
from core.workbench.desk import LOADING
from core.workbench.workbench import Workbench
from tests.conftest import PROJECT, write_rows

CONFIG = find_preset("demo-yoda").config
DEMO_SAMPLING = Sampling(max_new_tokens=4)


@pytest.fixture
def house(runs_dir):
    return Visits(Workbench(runs_dir), DEMO)


def run_of(house, visitor: str, status: str = "stopped", name: str = "mine"):
    """A run that has ended, with what looks like an adapter."""
    run = create_run(house.bench.runs_dir, name, CONFIG, visitor)
    run.adapter_dir.mkdir()
    (run.adapter_dir / "adapter_config.json").write_text("{}")
    run.append(StatusChanged(status=status))
    return run


def ways_to_use(visit, other) -> list:
    """Everything that a visitor could do with a run by its id."""
    return [
        lambda: visit.runs.find(other.id),
        lambda: visit.runs.open(other.id),
        lambda: visit.runs.describe(other.id, "hers", ""),
        lambda: visit.trash.take(other.folder),
        lambda: visit.resume(other.id),
        lambda: visit.lab.load_run(other.id),
        lambda: list(visit.lab.answer([BASE, Pane(other.id)], [[]] * 2, None)),
        lambda: visit.measuring.start(other, Source(kind="validation"), 5),
        lambda: visit.exporting.export(other, Wanted("adapter", other.folder / "exports" / "adapter")),
        lambda: visit.exporting.script(other, other.folder / "exports" / "script"),
        lambda: visit.blind_test.start([BASE, Pane(other.id)], ["Hello."]),
        lambda: visit.blind_test.result([BASE, Pane(other.id)]),
    ]


def test_a_visitor_sees_their_own_runs_only(house):
    mine, theirs, owners = run_of(house, "ann"), run_of(house, "bob"), run_of(house, "")
    ann = house.visit("ann")
    assert [row.id for row in ann.runs.rows(fresh=True)] == [mine.id] and ann.runs.open(mine.id).folder == mine.folder
    assert house.visit("").runs.rows(fresh=True) == () == house.visit("cat").runs.rows()
    for other in (theirs, owners):
        for do in ways_to_use(ann, other):
            with pytest.raises(RunError) as told:
                do()
            assert told.value.values == {"run": other.id}
    assert open_run(theirs.folder).name == "mine"


@pytest.mark.parametrize("wanted", ["{id}", "{id}/checkpoints/step-2", "{folder}", "{folder}/adapter", "{id}/adapter",
                                    "korean", "../runs/{id}", "./{id}"])  # fmt: skip
def test_no_run_continues_another_visitor_s(house, wanted):
    other = run_of(house, "bob", "completed", "korean")
    wanted = wanted.format(id=other.id, folder=other.folder)
    with pytest.raises(RunError) as told:
        house.visit("ann").start(CONFIG.with_settings([f"adapter.continue_from={wanted}"]), "x")
    assert told.value.values == {"wanted": wanted}


def test_a_preset_continues_the_visitor_s_own_run(house):
    mine, _ = run_of(house, "ann", "completed", "korean"), run_of(house, "bob", "completed", "korean")
    config, _ = house.visit("ann").allowed(CONFIG.with_settings(["adapter.continue_from=korean"]), None)
    assert config.adapter.continue_from == mine.id


def test_files_of_others_are_neither_measured_on_nor_asked(house, tmp_path):
    mine, theirs = run_of(house, "ann"), write_rows(tmp_path / "rows.json")
    house.uploads.add("bob", [str(theirs)])
    ann = house.visit("ann")
    for do in (
        lambda: ann.blind_test.read_prompts(str(theirs)),
        lambda: ann.measuring.start(mine, Source(kind="file", path=str(theirs)), 5),
        lambda: ann.measuring.start(mine, Source(kind="prompts", path=str(theirs)), 5),
    ):
        with pytest.raises(NotAllowed):
            do()
    assert len(house.visit("bob").blind_test.read_prompts(str(theirs))) == 12


def test_an_export_goes_into_the_visitor_s_own_run_and_has_a_limit(house, tmp_path):
    """Wherever it is asked to go: the page asks for the right place, but other programs may not."""
    mine, ann, bob = run_of(house, "ann"), house.visit("ann"), house.visit("bob")
    ann.exporting.export(mine, Wanted("adapter", tmp_path / "elsewhere"), is_tested=False)
    state = house.bench.exporting.wait(60)
    assert state.run_id == mine.id and "adapter" in state.said, state  # what run_of makes is no whole adapter
    assert not (tmp_path / "elsewhere").exists() and load_exports(mine) == []
    assert ann.exporting.state is state and bob.exporting.state.run_id == ""
    with pytest.raises(NotAllowed) as told:  # 50 copies of the demo model in float32 have 190 MB
        ann.exporting.export(mine, Wanted("gguf", tmp_path / "elsewhere", quant=("f32",) * 50))
    assert told.value.values == {"most": 0.1}


def test_the_trash_of_others_stays_closed(house):
    ann, bob = house.visit("ann"), house.visit("bob")
    mine, theirs = run_of(house, "ann"), run_of(house, "bob")
    deleted = bob.trash.take(theirs.folder)
    ann.trash.take(mine.folder)
    assert [run.run_id for run in ann.trash.runs()] == [mine.id]
    with pytest.raises(RunError):
        ann.trash.put_back(deleted.id)
    ann.trash.empty()
    assert ann.trash.runs() == [] and bob.trash.put_back(deleted.id) == theirs.id


def test_a_visitor_waits_for_the_model_that_is_loaded_for_them_and_for_no_other(house, wait_until):
    ann, bob = house.visit("ann"), house.visit("bob")
    with ThreadPoolExecutor() as executor:
        with ann.turn(LOADING):
            waiting = executor.submit(ann.lab.wait_for_loading)
            wait_until(lambda: house._turn._changed._waiters, "ann to wait")
            executor.submit(bob.lab.wait_for_loading).result(60)
            assert not waiting.done()
        waiting.result(60)


def test_what_one_visitor_does_the_others_do_not_see(house, unsloth):
    """A model that one visitor loaded, rows that one checked: not for others, who may stop none of it."""
    ann, bob = house.visit("ann"), house.visit("bob")
    ann.load_model(CONFIG.model)
    ann.check_rows(CONFIG)
    assert ann.model_state.report.name == "presets/demo-llama" and ann.preparing.survey and ann.has_checked(CONFIG)
    assert bob.model_state.report is None and bob.preparing.path == "" and not bob.has_checked(CONFIG)
    assert bob.lab.choices() == [BASE] and not bob.compare_ready and ann.compare_ready
    messages = [[{"role": "user", "content": "Hello."}]]
    for do in (
        lambda: list(bob.lab.answer([BASE], messages, DEMO_SAMPLING)),
        lambda: list(bob.lab.compare("Hello.", "", DEMO_SAMPLING)),
        lambda: bob.lab.differences([BASE], messages[0]),
    ):
        with pytest.raises(ModelError):
            do()
    assert bob.row(CONFIG, 1) == ann.row(CONFIG, 1)  # the demo's tokens are nobody's own
    with ann.turn("an answer is being written"):
        bob.lab.stop(), bob.stop_reading(), bob.stop_probe(), bob.measuring.stop(), bob.blind_test.end()
        assert not house.bench.lab.should_stop() and not house.bench._stop_reading.is_set()
        assert bob.busy_with == "an answer is being written"
        with pytest.raises(Busy):
            bob.load_model(CONFIG.model)
        ann.lab.stop()
        assert house.bench.lab.should_stop()
    bob.load_model(CONFIG.model)
    assert ann.model_state.report is None and bob.model_state.report is not None


def test_runs_wait_in_the_order_they_came_and_only_their_visitor_takes_one_out(runs_dir, wait_until):
    is_busy, begun = [True], []

    def begin(waiting):
        if is_busy:
            raise Busy("This must wait.")
        begun.append(waiting.run.owner)

    queue = RunQueue(begin, most=3)
    runs = {}
    for visitor in ("ann", "bob", "cat"):
        make = lambda visitor=visitor: Waiting(create_run(runs_dir, "x", CONFIG, visitor), lambda: None)  # noqa: E731
        runs[visitor] = queue.add(visitor, make)
    assert [queue.place(visitor) for visitor in ("ann", "bob", "cat", "dan")] == [1, 2, 3, 0]
    for visitor in ("bob", "dan"):  # one each, and no more than fit
        with pytest.raises(Busy):
            queue.add(visitor, lambda: pytest.fail("no folder is made"))
    assert queue.remove("dan") is None and queue.remove("bob").id == runs["bob"].id
    assert runs["bob"].snapshot().status == "stopped" and queue.place("cat") == 2
    is_busy.clear()
    wait_until(lambda: begun == ["ann", "cat"], "both to begin")
    queue.close()


def test_after_an_hour_all_of_a_visitor_s_is_gone_and_the_owner_s_stays(house, runs_dir):
    old = datetime.fromtimestamp(time.time() - 3700).strftime("%Y%m%d-%H%M%S")
    for visitor in ("ann", ""):
        folder = run_of(house, visitor).folder
        folder.rename(runs_dir / f"{old}-{visitor or 'owner'}")
    trashed = shutil.copytree(runs_dir / f"{old}-ann", runs_dir / "trash" / "20260101-000000-00001" / f"{old}-ann")
    new = run_of(house, "ann")
    for name, seconds in (("a" * 64, 3700), ("b" * 64, 3500)):
        upload = runs_dir / "uploads" / name / "rows.json"
        upload.parent.mkdir(parents=True)
        write_rows(upload)
        house.uploads.add("ann", [str(upload)])
        os.utime(upload.parent, (time.time() - seconds,) * 2)
    house.sweep(time.time())
    assert {row.id for row in house.bench.runs.rows(fresh=True)} == {f"{old}-owner", new.id}
    assert not trashed.exists()
    assert {path.name for path in (runs_dir / "uploads").iterdir()} == {"b" * 64}
    assert not house.uploads.has("ann", str(runs_dir / f"uploads/{'a' * 64}/rows.json"))


def test_a_visit_has_all_that_a_page_asks_of_the_workbench(house):
    visit = house.visit("ann")
    parts = {"workbench": visit, "runs": visit.runs, "trash": visit.trash, "lab": visit.lab}
    parts |= {"measuring": visit.measuring, "exporting": visit.exporting}
    parts |= {"blind": visit.blind_test, "blind_test": visit.blind_test}
    asked = set()
    for file in (PROJECT / "ui").rglob("*.py"):
        if "terminal" not in file.parts and file.name != "visitors.py":
            text = re.sub(r"^from core.*", "", file.read_text("utf-8"), flags=re.MULTILINE)
            asked |= {("workbench", name) for name in re.findall(r"(?<!core\.)\b_?workbench\.([a-z]\w*)", text)}
            asked |= set(re.findall(rf"(?:self\._|\bworkbench\.)({'|'.join(parts)})\.([a-z]\w*)", text))
    own = {"warm_up", "wait", "queue"}  # of whoever runs the program
    assert len(asked) > 40
    assert [(part, name) for part, name in sorted(asked) if name not in own and not hasattr(parts[part], name)] == []
