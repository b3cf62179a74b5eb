"""What visitors may not do, however they ask: settings, models and rows, refused before anything is done."""

import gzip

import gradio as gr
import pyarrow
import pyarrow.parquet
import pytest

from core.problems import Busy, ConfigError, NotAllowed
from core.settings.presets import find_preset, save_preset
from core.visitors.limits import RateLimit
from core.visitors.policy import DEMO, OPEN
from core.visitors.visits import Visits
from core.workbench.workbench import Workbench
from tests.conftest import PROJECT, write_rows
from ui.model.model_tab import ModelTab
from ui.shared.settings_form import Form


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A workbench that nobody has done anything with; refusals leave it so."""
    bench = Workbench(tmp_path_factory.mktemp("policy") / "runs")
    yield bench
    assert bench.runs.rows(fresh=True) == () and bench.model_state.report is None and not bench.busy_with


@pytest.fixture(params=[OPEN, DEMO], ids=["open", "demo"])
def ann(bench, request):
    return Visits(bench, request.param).visit("ann")


def demo(*settings: str):
    return find_preset("demo-yoda").config.with_settings(list(settings))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("training.max_steps", 10_000_000), ("training.max_steps", -1), ("model.max_seq_length", 131072),
     ("training.per_device_train_batch_size", 1024), ("training.per_device_train_batch_size", "auto"),
     ("training.gradient_accumulation_steps", 1024), ("adapter.r", 512), ("training.save_total_limit", 1000)],
)  # fmt: skip
def test_settings_have_bounds(ann, setting, value):
    config = demo(f"{setting}={value}")
    for do in (lambda: ann.start(config, "x"), lambda: ann.probe(config), lambda: ann.find_batch(config)):
        with pytest.raises(NotAllowed) as told:
            do()
        assert (told.value.values["setting"], told.value.values["value"]) == (setting, value)


def test_batch_times_accumulation_has_a_bound(ann):
    with pytest.raises(NotAllowed) as told:
        ann.start(demo("training.per_device_train_batch_size=32", "training.gradient_accumulation_steps=32"), "x")
    assert told.value.values == {"most": ann.policy.rows_per_step, "value": 1024}
    assert told.value.settings == ("training.per_device_train_batch_size", "training.gradient_accumulation_steps")


@pytest.mark.parametrize("tracker", ["wandb", "trackio", "tensorboard"])
def test_no_tracker_uses_the_owner_s_account(ann, tracker):
    with pytest.raises(NotAllowed):
        ann.start(demo(f"training.report_to={tracker}"), "x")


def test_nothing_is_pushed_with_the_owner_s_account(ann):
    with pytest.raises(NotAllowed):
        ann.start(demo("training.hub_model_id=ann/yoda"), "x")


@pytest.mark.parametrize("model", ["presets/demo-llama", "somebody/evil-model"])
def test_no_model_runs_code(ann, model):
    config = demo(f"model.model_name={model}", f"model.trust_remote_code={model}")
    for do in (
        lambda: ann.load_model(config.model),
        lambda: ann.start(config, "x"),
        lambda: ann.shape_of(config.model),
    ):
        with pytest.raises(NotAllowed, match="code"):
            do()


@pytest.mark.parametrize("model", ["/etc", "~/", "presets/data", "tests", ".", f"{PROJECT}/presets"])
def test_no_model_from_a_folder_of_the_machine_but_the_demo(ann, model):
    config = demo(f"model.model_name={model}")
    for do in (
        lambda: ann.load_model(config.model),
        lambda: ann.start(config, "x"),
        lambda: ann.shape_of(config.model),
    ):
        with pytest.raises(NotAllowed) as told:
            do()
        assert told.value.values["model"] == model
    assert ann.shape_of(demo(f"model.model_name={PROJECT}/presets/demo-llama").model).num_hidden_layers > 0


def test_a_demo_has_the_demo_model_and_the_preset_s_rows_only(bench):
    ann = Visits(bench, DEMO).visit("ann")
    assert [preset.name for preset in ann.presets()] == ["demo-yoda"]
    with pytest.raises(NotAllowed):
        ann.load_model(demo("model.model_name=unsloth/Llama-3.2-1B").model)
    with pytest.raises(NotAllowed):
        ann.look(demo("data.path=yahma/alpaca-cleaned"))
    assert len(ann.look(demo()).rows) == 5


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/proc/self/environ", "README.md", "tests", "presets", "presets/data", "presets/../README.md", "~",
     "file:///etc/passwd", '"/etc/passwd"', "presets/data/yoda.jsonl\n/etc/passwd", "presets/demo-yoda.yaml"],
)  # fmt: skip
@pytest.mark.parametrize("setting", ["data.path", "data.validation_path"])
def test_no_rows_from_the_machine(ann, setting, path):
    values = demo().model_dump()
    values["data"][setting.removeprefix("data.")] = path
    config = type(demo()).build(values)
    for do in (lambda: ann.look(config), lambda: ann.row(config, 1), lambda: ann.check_rows(config)):
        with pytest.raises(NotAllowed):
            do()
    with pytest.raises(NotAllowed):
        ann.start(config, "x")


def test_an_upload_is_its_visitor_s_alone(bench, tmp_path):
    house = Visits(bench, OPEN)
    rows, other = write_rows(tmp_path / "rows.json"), write_rows(tmp_path / "other.json")
    house.uploads.add("ann", [str(rows)])
    assert len(house.visit("ann").look(demo(f"data.path={rows}")).rows) == 5
    for visitor, path in (("bob", rows), ("ann", other), ("", rows), ("ann", f"{rows}\n{other}"), ("ann", tmp_path)):
        with pytest.raises(NotAllowed):
            house.visit(visitor).look(demo(f"data.path={path}"))


def test_an_upload_that_can_become_huge_is_refused(bench, tmp_path):
    house = Visits(bench, DEMO)
    packed, many, few = tmp_path / "rows.txt", tmp_path / "many.parquet", tmp_path / "few.parquet"
    packed.write_bytes(gzip.compress(b"a\n" * 1000))
    for file, count in ((many, DEMO.uploaded_rows + 1), (few, 10)):
        table = {"instruction": ["Say red."] * count, "output": ["red"] * count}
        pyarrow.parquet.write_table(pyarrow.table(table), file)
    assert many.stat().st_size < DEMO.upload_bytes
    house.uploads.add("ann", map(str, (packed, many, few)))
    ann = house.visit("ann")
    for file in (packed, many):
        with pytest.raises(NotAllowed) as told:
            ann.look(demo(f"data.path={file}"))
        assert told.value.values["file"] == file.name
    assert len(ann.look(demo(f"data.path={few}")).rows) == 5


def test_a_preset_is_known_by_its_name_only(ann, tmp_path):
    (tmp_path / "own.yaml").write_text("title: mine\n")
    for name in (str(tmp_path / "own.yaml"), "presets/demo-yoda.yaml", "../demo-yoda", "/etc/passwd"):
        with pytest.raises(ConfigError) as told:
            ann.find_preset(name)
        assert told.value.values["name"] == name
    assert ann.find_preset("demo-yoda").name == "demo-yoda"


def test_the_owner_s_presets_are_not_for_visitors(tmp_path):
    bench = Workbench(tmp_path / "runs")
    saved = save_preset(bench.runs_dir, "Private", demo("data.path=/home/owner/private.csv"))
    assert bench.find_preset("private") == saved
    for policy in (OPEN, DEMO):
        seen = Visits(bench, policy).visit("ann")
        assert [preset.name for preset in seen.presets() if preset.is_own] == []
        with pytest.raises(ConfigError) as told:
            seen.find_preset("private")
        assert "private" not in told.value.values["known"]
        with gr.Blocks() as page:
            ModelTab(seen, Form(demo()), {"demo-yoda": find_preset("demo-yoda")}, "demo-yoda").presets.connect()
        actions = {handler.api_name for handler in page.fns.values()}
        assert not actions & {"save_preset", "delete_preset"}, "nothing on their page saves or deletes one"


def test_a_visitor_and_all_together_have_a_rate():
    now = [0.0]
    limit = RateLimit(3, 5, lambda: now[0])
    for _ in range(3):
        limit.count("ann")
    with pytest.raises(Busy) as told:
        limit.count("ann")
    assert told.value.values == {"most": 3}
    for _ in range(2):
        limit.count("bob")
    with pytest.raises(Busy):
        limit.count("cat")
    now[0] = 60.0
    limit.count("ann")
