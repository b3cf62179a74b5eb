"""Damaged folders and files, one fault each: refused in one sentence, or skipped with the fault reported.

The models, presets and runs are real; a small function damages a copy. The program must survive every fault.
"""

import asyncio
import json
import os
import re
import shutil
import struct
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

import core.settings.presets
from core.data.prompts.prompt_templates import prompt_text
from core.model.load import load
from core.problems import ConfigError, ModelError, RunError, TemplateError
from core.runs.checkpoint_list import list_checkpoints
from core.runs.events import Evaluated, Sampled, StatusChanged, StepDone, to_line
from core.runs.run_folder import Run, find_run, list_runs, open_run
from core.settings.presets import DEMO as DEMO_PRESET
from core.settings.presets import PRESETS_DIR, find_preset, list_presets
from core.settings.sections import ModelConfig
from core.threads import in_own_thread
from core.workbench.workbench import Workbench
from tests.conftest import PROJECT, small_config
from ui.page import build_page
from ui.runs.run_view import course_text, head_text, kept_text
from ui.train.samples_view import samples_text

pytestmark = pytest.mark.slow

DEMO = PROJECT / "presets" / "demo-llama"
REPR = re.compile(r"\[Errno|Traceback|Error\b|Exception|<class|object at 0x|\('|site-packages|\\n")
MAX_CHARACTERS = 400  # of a sentence
WHOLE = "20260101-000000-whole"


def check_sentence(error: BaseException | str, *named: str) -> str:
    """Check that it is one plain sentence that contains one of `named`; returns it."""
    sentence = str(error)
    assert sentence.endswith((".", "?")) and "\n" not in sentence and len(sentence) <= MAX_CHARACTERS, sentence
    assert not REPR.search(sentence), sentence
    assert not re.search(r"\.\.$|[.!?] +[A-Z]", sentence), f"more than one sentence: {sentence}"
    assert any(name in sentence for name in named), (sentence, named)
    return sentence


def truncate(file: Path, share: float = 0.5) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def change(file: Path, **values) -> None:
    """Set values in a JSON file; None removes them."""
    merged = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps({k: v for k, v in merged.items() if v is not None}), encoding="utf-8")


def replace(file: Path, content: str | bytes | None = None) -> None:
    """Replace the file's content, or replace the file with a folder if there is no content."""
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


DEEP = "[" * 100_000


# Model folders

WEIGHTS = "model.safetensors"


def weights(folder: Path, **changed) -> None:
    """Replace weights by name with the result of a function of the old weight; None removes one."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    for name, make in changed.items():
        name = f"model.{name}.weight"
        weight = make(tensors.pop(name))
        if weight is not None:
            tensors[name] = weight.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def header(folder: Path, edit) -> None:
    data = (folder / WEIGHTS).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    text = edit(data[8 : 8 + size])
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def shards(folder: Path, index) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index) if not isinstance(index, str) else index)


CONFIG, TOKENS, TEMPLATE = "config.json", "tokenizer.json", "chat_template.jinja"
FIRST = "model-00001-of-00002.safetensors"
MODELS = {
    "weights empty": lambda f: replace(f / WEIGHTS, b""),
    "weights of zeros": lambda f: replace(f / WEIGHTS, bytes(100_000)),
    "weights cut in the header": lambda f: truncate(f / WEIGHTS, 0.001),
    "weights cut in the data": lambda f: truncate(f / WEIGHTS, 0.7),
    "weights of seven bytes": lambda f: replace(f / WEIGHTS, b"1234567"),
    "a header of 2**63 bytes": lambda f: replace(f / WEIGHTS, struct.pack("<Q", 2**63) + b"{}"),
    "a header that is no JSON": lambda f: header(f, lambda text: text.replace(b"{", b"<")),
    "a header with offsets beyond the end": lambda f: header(
        f, lambda text: text.replace(b"393216]", b"9" * 17 + b"]")
    ),
    "a header with a shape of 1e15": lambda f: header(
        f, lambda text: text.replace(b"[1536,128]", b"[1536000000000000,128]")
    ),
    "a header with a type that is none": lambda f: header(f, lambda text: text.replace(b"BF16", b"BX16")),
    "a page of HTML for weights": lambda f: replace(f / WEIGHTS, "<!DOCTYPE html><title>Not found</title>" * 50),
    "a pointer of Git LFS for weights": lambda f: replace(
        f / WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    ),
    "a folder for weights": lambda f: replace(f / WEIGHTS),
    "a link in a circle for weights": lambda f: link_to_itself(f / WEIGHTS),
    "a weight of another shape": lambda f: weights(f, **{"layers.0.mlp.down_proj": lambda w: w[:, :100]}),
    "embeddings of another shape": lambda f: weights(f, embed_tokens=lambda w: w[:7]),
    "a weight is missing": lambda f: weights(f, **{"layers.2.self_attn.q_proj": lambda w: None}),
    "a weight of whole numbers": lambda f: weights(f, norm=lambda w: w.int()),
    "weights that are no numbers": lambda f: weights(f, norm=lambda w: w * float("nan")),
    "an index naming a missing shard": lambda f: shards(
        f, {"weight_map": {"a": FIRST, "b": "model-00002-of-00002.safetensors"}}
    ),
    "an index that is a list": lambda f: shards(f, [FIRST]),
    "an index naming nothing": lambda f: shards(f, {"weight_map": {}}),
    "an index of brackets": lambda f: shards(f, DEEP),
    "an index naming a weight that is not in its shard": lambda f: shards(
        f, {"metadata": {}, "weight_map": {"model.norm.weight": FIRST, "x": FIRST}}
    ),
    "config empty": lambda f: replace(f / CONFIG, ""),
    "config a list": lambda f: replace(f / CONFIG, "[]"),
    "config of brackets": lambda f: replace(f / CONFIG, DEEP),
    "config in another encoding": lambda f: replace(f / CONFIG, b"\xff\xfe{\x00}\x00"),
    "config with a number of 5000 digits": lambda f: replace(
        f / CONFIG, '{"model_type": "llama", "vocab_size": ' + "9" * 5000 + "}"
    ),
    "config a folder": lambda f: replace(f / CONFIG),
    "config a link in a circle": lambda f: link_to_itself(f / CONFIG),
    "config: model_type a list": lambda f: change(f / CONFIG, model_type=["llama"]),
    "config: model_type unknown": lambda f: change(f / CONFIG, model_type="lama"),
    "config: architectures unknown": lambda f: change(f / CONFIG, architectures=["LamaForCausalLM"]),
    "config: architectures a number": lambda f: change(f / CONFIG, architectures=7),
    "config: vocab_size 1e12": lambda f: change(f / CONFIG, vocab_size=10**12),
    "config: vocab_size a string": lambda f: change(f / CONFIG, vocab_size="many"),
    "config: hidden_size 0": lambda f: change(f / CONFIG, hidden_size=0),
    "config: hidden_size 1e9": lambda f: change(f / CONFIG, hidden_size=10**9),
    "config: num_hidden_layers -1": lambda f: change(f / CONFIG, num_hidden_layers=-1),
    "config: num_hidden_layers 5": lambda f: change(f / CONFIG, num_hidden_layers=5),
    "config: num_hidden_layers 1e9": lambda f: change(f / CONFIG, num_hidden_layers=10**9),
    "config: num_attention_heads 0": lambda f: change(f / CONFIG, num_attention_heads=0),
    "config: intermediate_size null": lambda f: change(f / CONFIG, intermediate_size=None),
    "config: hidden_act unknown": lambda f: change(f / CONFIG, hidden_act="swoosh"),
    "config: rope_parameters a list": lambda f: change(f / CONFIG, rope_parameters=[1]),
    "config: max_position_embeddings 1e15": lambda f: change(f / CONFIG, max_position_embeddings=10**15),
    "config: quantised in a way that is none": lambda f: change(
        f / CONFIG, quantization_config={"quant_method": "magic"}
    ),
    "tokenizer cut off": lambda f: truncate(f / TOKENS),
    "tokenizer missing": lambda f: (f / TOKENS).unlink(),
    "tokenizer a list": lambda f: replace(f / TOKENS, "[]"),
    "tokenizer of brackets": lambda f: replace(f / TOKENS, DEEP),
    "tokenizer a folder": lambda f: replace(f / TOKENS),
    "tokenizer settings cut off": lambda f: truncate(f / "tokenizer_config.json"),
    "tokenizer settings a list": lambda f: replace(f / "tokenizer_config.json", "[]"),
    "generation settings a list": lambda f: replace(f / "generation_config.json", "[]"),
    "generation settings cut off": lambda f: truncate(f / "generation_config.json"),
    "chat template in another encoding": lambda f: replace(f / TEMPLATE, b"\xff\xfe\x00"),
    "chat template a folder": lambda f: replace(f / TEMPLATE),
    "chat template broken": lambda f: replace(f / TEMPLATE, "{% for m in messages %}{{ m.content }"),
    "chat template that names nothing": lambda f: replace(f / TEMPLATE, "{{ messages[99].content.x.y }}"),
    "chat template a long loop": lambda f: replace(f / TEMPLATE, "{% for i in range(10**9) %}{{ i }}{% endfor %}"),
    "chat template that writes for ever": lambda f: replace(f / TEMPLATE, "{{ 'a' * 10**12 }}"),
}

# The model still works, or the libraries compensate without changing the weights.
HARMLESS = {
    "a weight of whole numbers",
    "config: architectures unknown",
    "config: max_position_embeddings 1e15",
    "config: quantised in a way that is none",
    "an index naming a weight that is not in its shard",
}
# Faults that show only when a conversation is rendered with the template.
TEMPLATES = {
    name for name in MODELS if name.startswith("chat template ") and "encoding" not in name and "folder" not in name
}


def load_model(folder: Path):
    return load(
        ModelConfig(model_name=str(folder), max_seq_length=64, load_in_4bit=False), use_gradient_checkpointing=False
    )


def render_prompt(loaded) -> str:
    return prompt_text([{"role": "user", "content": "Hi"}], "chat", loaded.tokenizer)


@pytest.mark.parametrize("damage", MODELS)
def test_a_damaged_model(unsloth, tmp_path, damage):
    folder = Path(shutil.copytree(DEMO, tmp_path / "model"))
    MODELS[damage](folder)
    if damage in HARMLESS:
        assert "Hi" in render_prompt(load_model(folder))
    elif damage in TEMPLATES:
        with pytest.raises(TemplateError, match="^the model's chat template ") as refused:
            render_prompt(load_model(folder))
        assert "\n" not in str(refused.value) and not REPR.search(str(refused.value))
    else:
        with pytest.raises(ModelError) as refused:
            load_model(folder)
        check_sentence(refused.value, str(folder))


def test_the_intact_model_loads_after_all_the_damaged_ones(unsloth):
    assert "Hi" in render_prompt(load_model(DEMO))


# Presets

LAUGHS = "a: &a [l, l]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
PRESETS = {
    "empty": "",
    "of spaces": "  \n \n",
    "a list": "- model\n- data\n",
    "a word": "demo",
    "of bytes": bytes(range(256)) * 40,
    "in UTF-16": "title: x".encode("utf-16"),
    "of zero bytes": bytes(1000),
    "with a zero byte": b"title: a\0b",
    "with tabs": "training:\n\tmax_steps: 3\n",
    "cut off": (PRESETS_DIR / "demo-yoda.yaml").read_bytes()[:-1] + b"\n  x: [1, 2",
    "a page of HTML": "<!DOCTYPE html><html><body>404: Not found</body></html>",
    "a billion laughs": LAUGHS,
    "referring to itself": "model: &m\n  model_name: *m\n",
    "of brackets": DEEP,
    "of braces": "{a: " * 100_000,
    "of dashes": "- " * 100_000,
    "an unknown section": "modell: {model_name: x}\n",
    "an unknown section with a name of 100,000 letters": "m" * 1000 + "\n" + "? " + "x" * 100_000 + "\n: 1\n",
    "an unknown setting of many letters": "training: {? " + "x " * 50_000 + ": 1}\n",
    "a section that is a list": "training: [1, 2]\n",
    "a number for a section": "training: 7\n",
    "numbers for names": "1: 2\n",
    "lists for names": "{[a, b]: 1}\n",
    "nothing for a name": "training: {~: 1}\n",
    "a huge number of steps": "training: {max_steps: 1" + "0" * 400 + "}\n",
    "a number of 5000 digits": "training: {max_steps: " + "9" * 5000 + "}\n",
    "an infinite rate": "training: {learning_rate: .inf}\n",
    "a rate that is no number": "training: {learning_rate: .nan}\n",
    "a negative length": "model: {max_seq_length: -5}\n",
    "a huge rank": "adapter: {r: 1000000000000}\n",
    "a day that is none": "training: {max_steps: 2026-99-99}\n",
    "a Python object": "training: !!python/object/apply:os.system ['true']\n",
    "a tag": "training: {max_steps: !!int x}\n",
    "text for a list": "adapter: {target_modules: 5}\n",
    "of two megabytes": "# " + "x" * 2_000_000,
    "two documents": "a: 1\n---\nb: 2\n",
    "with half a letter": 'title: "\\ud800"\n',
    "a folder": None,
}


@pytest.mark.parametrize("damage", PRESETS)
def test_a_damaged_preset(tmp_path, monkeypatch, damage):
    shutil.copy(PRESETS_DIR / f"{DEMO_PRESET}.yaml", tmp_path)
    replace(tmp_path / "bad.yaml", PRESETS[damage])
    monkeypatch.setattr(core.settings.presets, "PRESETS_DIR", tmp_path)
    for name in ("bad", str(tmp_path / "bad.yaml")):
        with pytest.raises(ConfigError) as refused:
            find_preset(name)
        check_sentence(refused.value, "bad.yaml")
    assert [preset.name for preset in list_presets()] == [DEMO_PRESET]
    assert find_preset(DEMO_PRESET).config.training.max_steps > 0


def test_a_preset_that_links_to_itself(tmp_path):
    (tmp_path / "bad.yaml").write_text("")
    link_to_itself(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError) as refused:
        find_preset(str(tmp_path / "bad.yaml"))
    check_sentence(refused.value, "bad.yaml")


# Run folders


@pytest.fixture(scope="module")
def real_run(unsloth, stories, rows, tmp_path_factory) -> Path:
    """A real run of four steps with a checkpoint and an adapter, as if the program had just ended."""
    runs_dir = tmp_path_factory.mktemp("real") / "runs"
    settings = [
        "training.max_steps=4",
        "training.save_steps=2",
        "training.eval_steps=2",
        "training.sample_prompts=[Say red.]",
    ]
    workbench = Workbench(runs_dir)
    run = workbench.start(small_config(stories, rows, *settings), "real")
    assert workbench.wait().status == "completed", workbench.wait().message
    assert [c.step for c in run.checkpoints()] == [2, 4] and run.has_adapter
    shutil.rmtree(run.folder / "checkpoints" / "step-4")
    run.append(StatusChanged(status="interrupted", message="The program ended before the run did."))
    return run.folder


def copy_of(real_run: Path, runs_dir: Path, name: str) -> Run:
    """Copy the run with the date after the intact one, so that it is the latest run."""
    shutil.copytree(real_run, runs_dir / f"20260102-000000-{name}")
    return find_run(runs_dir, f"20260102-000000-{name}")


class Program:
    """One program, with its page, for many damaged runs beside an intact one; none of them may affect the next."""

    def __init__(self, real_run: Path, runs_dir: Path):
        self.real_run, self.runs_dir = real_run, runs_dir
        self.workbench = Workbench(runs_dir)
        _, self.live = build_page(self.workbench)

    def run(self, name: str) -> Run:
        return copy_of(self.real_run, self.runs_dir, name)

    def check_page(self, *run_ids: str) -> None:
        """Check that the page gets its data and that these runs can be opened."""
        # In its own thread, because the browser tests leave an event loop running in this one.
        assert in_own_thread(lambda: asyncio.run(_get_live(self.live.route()))).status_code == 200
        for row in self.workbench.runs.rows():
            if row.id in run_ids:
                run = open_run(row.folder)
                snapshot = find_run_or_open(self.workbench, row.id).snapshot()
                html = head_text(row) + kept_text(run, snapshot) + course_text(snapshot) + samples_text(snapshot)
                html.encode()  # as for sending
                assert len(html) < 500_000


@pytest.fixture(scope="module")
def program(real_run, tmp_path_factory) -> Program:
    runs_dir = tmp_path_factory.mktemp("program") / "runs"
    shutil.copytree(real_run, runs_dir / WHOLE)
    return Program(real_run, runs_dir)


def lines(folder: Path, *added: str | bytes, first: bool = False) -> None:
    """Append lines to the events, or insert them at the start."""
    file = folder / "events.jsonl"
    data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in added)
    file.write_bytes(data + file.read_bytes() if first else file.read_bytes() + data)


def event(kind, **changed) -> str:
    """A valid event line except for the changed values, which may be invalid."""
    valid = {
        StepDone: StepDone(step=3, max_steps=4, epoch=1, loss=1, learning_rate=1e-4, grad_norm=1, tokens=9, elapsed=2),
        Evaluated: Evaluated(step=3, eval_loss=1),
        Sampled: Sampled(step=3, by="tuned", prompts=("a",), answers=("b",)),
        StatusChanged: StatusChanged(status="interrupted", message="So."),
    }[kind]
    return json.dumps(json.loads(to_line(valid)) | changed)


def raw(kind, field: str, text: str) -> str:
    """The same, with one value as raw text that json.dumps would not write."""
    return event(kind, **{field: "@"}).replace('"@"', text)


ABOUT = "^Its run.json is missing or damaged, so its name and note are unknown.$"
SETTINGS = "^The settings of run 20260102-000000-run-[0-9]+ cannot be read: "
HISTORY = "^Its events.jsonl is missing, so its progress is unknown.$"
LEFT_OUT = "^(One line|[0-9,]+ lines) of its history cannot be read and (is|are) left out.$"
JSON, YAML, EVENTS = "run.json", "config.yaml", "events.jsonl"

# Each with the fault that the list of runs reports (a pattern; empty if none).
RUNS = {
    "no run.json": (lambda f: (f / JSON).unlink(), ABOUT),
    "run.json empty": (lambda f: replace(f / JSON, ""), ABOUT),
    "run.json a list": (lambda f: replace(f / JSON, "[1]"), ABOUT),
    "run.json of brackets": (lambda f: replace(f / JSON, DEEP), ABOUT),
    "run.json of braces": (lambda f: replace(f / JSON, '{"a":' * 100_000), ABOUT),
    "run.json of bytes": (lambda f: replace(f / JSON, bytes(range(256))), ABOUT),
    "run.json a folder": (lambda f: replace(f / JSON), ABOUT),
    "run.json a link in a circle": (lambda f: link_to_itself(f / JSON), ABOUT),
    "run.json a pipe": (lambda f: ((f / JSON).unlink(), os.mkfifo(f / JSON)), ABOUT),
    "a number of 5000 digits": (lambda f: replace(f / JSON, '{"pid": ' + "9" * 5000 + "}"), ABOUT),
    "pid huge": (lambda f: change(f / JSON, pid=10**40), ""),
    "pid negative": (lambda f: change(f / JSON, pid=-3), ""),
    "pid a word": (lambda f: change(f / JSON, pid="many"), ""),
    "pid a list": (lambda f: change(f / JSON, pid=[1]), ""),
    "pid 1e400": (lambda f: replace(f / JSON, '{"pid": 1e400, "pid_started": 1e400}'), ""),
    "its start 1e400": (lambda f: replace(f / JSON, '{"pid": 1, "pid_started": 1' + "0" * 400 + "}"), ""),
    "name a dict": (lambda f: change(f / JSON, name={"a": [1]}), ""),
    "name of 10 MB": (lambda f: change(f / JSON, name="x" * 10**7), ""),
    "name with half a letter": (lambda f: change(f / JSON, name="a\ud800b", note="\udfff"), ""),
    "note a list": (lambda f: change(f / JSON, note=["a"]), ""),
    "no config.yaml": (lambda f: (f / YAML).unlink(), "^Its config.yaml is missing"),
    "settings empty": (lambda f: replace(f / YAML, ""), SETTINGS),
    "settings cut off": (lambda f: replace(f / YAML, (f / YAML).read_text()[:300] + "\n  x: ["), SETTINGS),
    "settings of another version": (
        lambda f: replace(f / YAML, (f / YAML).read_text() + "serving: {port: 1}\n"),
        SETTINGS,
    ),
    "settings of bytes": (lambda f: replace(f / YAML, bytes(range(256))), SETTINGS),
    "settings of brackets": (lambda f: replace(f / YAML, DEEP), SETTINGS),
    "settings a billion laughs": (lambda f: replace(f / YAML, LAUGHS), SETTINGS),
    "settings a folder": (lambda f: replace(f / YAML), "^Its config.yaml is missing"),
    "settings a link in a circle": (lambda f: link_to_itself(f / YAML), "^Its config.yaml is missing"),
    "no events": (lambda f: (f / EVENTS).unlink(), HISTORY),
    "events a folder": (lambda f: replace(f / EVENTS), HISTORY),
    "events a link in a circle": (lambda f: link_to_itself(f / EVENTS), HISTORY),
    "events a pipe": (lambda f: ((f / EVENTS).unlink(), os.mkfifo(f / EVENTS)), HISTORY),
    "events empty": (lambda f: replace(f / EVENTS, ""), ""),
    "events cut off within a line": (lambda f: truncate(f / EVENTS, 0.5), ""),
    "events of zero bytes": (lambda f: lines(f, bytes(5000)), LEFT_OUT),
    "events with zero bytes": (
        lambda f: replace(f / EVENTS, (f / EVENTS).read_bytes().replace(b'"step"', b'"st\0p"')),
        LEFT_OUT,
    ),
    "events in no encoding": (lambda f: lines(f, b'{"type": "status", "status": "\xff\xfe"}'), LEFT_OUT),
    "events of brackets": (lambda f: lines(f, DEEP, '{"type":' * 100_000), LEFT_OUT),
    "events of other shapes": (
        lambda f: lines(f, "[]", "7", "null", '"x"', "{}", '{"type": ["step"]}', '{"type": "step"}'),
        LEFT_OUT,
    ),
    "a line of 50 MB": (lambda f: lines(f, b"x" * 50_000_000), LEFT_OUT),
    "a step -1": (lambda f: lines(f, event(StepDone, step=-1)), LEFT_OUT),
    "a step 1e308": (lambda f: lines(f, event(StepDone, step=1e308), event(Evaluated, step=1e308)), LEFT_OUT),
    "a step of 300 digits": (lambda f: lines(f, event(StepDone, step=10**300), event(Sampled, step=10**300)), LEFT_OUT),
    "a step that is a list": (lambda f: lines(f, event(StepDone, step=[3])), LEFT_OUT),
    "a time 1e300": (lambda f: lines(f, event(StatusChanged, time=1e300), first=True), LEFT_OUT),
    "a time before all times": (lambda f: lines(f, event(StatusChanged, time=-1e15), first=True), LEFT_OUT),
    "an infinite duration": (
        lambda f: lines(f, raw(StepDone, "elapsed", "Infinity"), raw(StepDone, "tokens", "1e400")),
        LEFT_OUT,
    ),
    "losses NaN": (lambda f: lines(f, raw(StepDone, "loss", "NaN"), raw(Evaluated, "eval_loss", "NaN")), ""),
    "losses infinite": (
        lambda f: lines(f, raw(StepDone, "loss", "-Infinity"), raw(Evaluated, "eval_loss", "Infinity")),
        "",
    ),
    "losses 1e308": (
        lambda f: lines(
            f, *(event(k, **{n: v}) for k, n in ((StepDone, "loss"), (Evaluated, "eval_loss")) for v in (1e308, -1e308))
        ),
        "",
    ),
    "losses 1e38": (
        lambda f: lines(
            f,
            *(
                event(k, **{n: v})
                for k, n in ((StepDone, "loss"), (Evaluated, "eval_loss"))
                for v in (3e38, -3e38, 1e-320)
            ),
        ),
        "",
    ),
    "rates and norms 1e308": (lambda f: lines(f, event(StepDone, learning_rate=1e308, grad_norm=-1e308)), ""),
    "steps out of order": (lambda f: lines(f, *(event(StepDone, step=n) for n in (9, 2, 2, 0, 7, 1))), ""),
    "more steps than there are": (lambda f: lines(f, event(StepDone, step=10**9, max_steps=0)), ""),
    "resumed beyond its end": (
        lambda f: lines(f, '{"type": "resumed", "step": 999}', '{"type": "status", "status": "failed"}'),
        "",
    ),
    "resumed before its beginning": (lambda f: lines(f, '{"type": "resumed", "step": -5}'), LEFT_OUT),
    "fewer answers than prompts": (lambda f: lines(f, event(Sampled, answers=[])), LEFT_OUT),
    "prompts that are numbers": (lambda f: lines(f, event(Sampled, prompts=[1])), LEFT_OUT),
    "a status that is none": (lambda f: lines(f, event(StatusChanged, status="burning")), LEFT_OUT),
    "events of a newer version": (
        lambda f: lines(f, '{"type": "dreamt", "of": 1}', event(StepDone, colour="red")),
        LEFT_OUT,
    ),
    "checkpoints that are huge": (lambda f: lines(f, '{"type": "checkpoint", "step": 1, "kept": [1e300]}'), LEFT_OUT),
    "200,000 lines": (lambda f: lines(f, *[event(StepDone)] * 200_000), ""),
    "an adapter folder that is empty": (lambda f: (shutil.rmtree(f / "adapter"), (f / "adapter").mkdir()), ""),
    "an adapter that is a file": (lambda f: replace(f / "adapter", "x"), ""),
    "checkpoints that are a file": (lambda f: replace(f / "checkpoints", "x"), ""),
    "a checkpoint step-x": (lambda f: (f / "checkpoints/step-2").rename(f / "checkpoints/step-x"), ""),
    "a checkpoint step-9999999999999": (
        lambda f: (f / "checkpoints/step-2").rename(f / "checkpoints/step-9999999999999"),
        "",
    ),
    "a checkpoint that is a file": (lambda f: replace(f / "checkpoints/step-3", "x"), ""),
    "a checkpoint that is a link in a circle": (lambda f: (f / "checkpoints/step-3").symlink_to("step-3"), ""),
    "a summary of brackets": (lambda f: replace(f / "summary.json", DEEP), ""),
    "a log that is a folder": (lambda f: (f / "log.txt").mkdir(), ""),
}
PROGRESS = {
    "a step that is text": '{"step": "2"}',
    "a step that is a list": '{"step": [2]}',
    "a step 1e400": '{"step": 1e400}',
    "a step of another": '{"step": 7}',
    "no step": "{}",
    "a list": "[2]",
    "brackets": DEEP,
    "nothing": "",
    "a folder": None,
}


async def _get_live(route) -> httpx.Response:
    transport = httpx.ASGITransport(Starlette(routes=[route]))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        return await client.get("/live")


def check_start(runs_dir: Path) -> None:
    """Check that a program starts with this folder, the page gets its data, and every run can be opened."""
    started = Program(runs_dir / WHOLE, runs_dir)
    started.check_page(*(row.id for row in started.workbench.runs.rows()))


def find_run_or_open(workbench: Workbench, run_id: str) -> Run:
    try:
        return find_run(workbench.runs_dir, run_id)
    except RunError as error:  # without run.json it cannot be used, but it is listed
        check_sentence(error, run_id)
        return open_run(workbench.runs_dir / run_id)


@pytest.mark.parametrize("damage", RUNS)
def test_a_damaged_run(program, damage):
    damaged = program.run(f"run-{list(RUNS).index(damage)}")
    do, fault = RUNS[damage]
    do(damaged.folder)
    rows = {row.id: row for row in program.workbench.runs.rows(fresh=True)}
    assert rows[WHOLE].fault == ""
    sentence = rows[damaged.id].fault
    assert re.search(fault, sentence) if fault else sentence == ""
    if sentence:
        check_sentence(sentence, "Its", "its", damaged.id)
    assert len(rows[damaged.id].name) <= 200
    assert WHOLE in [run.id for run in list_runs(program.runs_dir)]
    if fault == SETTINGS or "config" in fault:
        with pytest.raises(RunError) as refused:
            damaged.config()
        check_sentence(refused.value, damaged.id)
        with pytest.raises(RunError) as refused:
            program.workbench.lab.load_run(damaged.id)
        check_sentence(refused.value, damaged.id)
    else:
        assert damaged.config().training.max_steps == 4
    program.check_page(damaged.id)


@pytest.mark.parametrize("damage", PROGRESS)
def test_a_checkpoint_without_its_step_is_skipped(program, damage):
    damaged = program.run(damage.replace(" ", "-"))
    assert [c.step for c in damaged.checkpoints()] == [2]
    replace(damaged.checkpoints_dir / "step-2" / "progress.json", PROGRESS[damage])
    assert list_checkpoints(damaged.checkpoints_dir) == []
    with pytest.raises(RunError) as refused:
        program.workbench.lab.load_run(damaged.id, step=2)
    check_sentence(refused.value, damaged.id)


ADAPTER = "adapter_model.safetensors"


def reshape(file: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({name: weight.flatten()[:1].clone() for name, weight in load_file(file).items()}, file)


def fill_with_nan(file: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({name: weight * float("nan") for name, weight in load_file(file).items()}, file)


ADAPTERS = {
    "no settings": lambda f: (f / "adapter_config.json").unlink(),
    "settings a list": lambda f: replace(f / "adapter_config.json", "[]"),
    "settings cut off": lambda f: truncate(f / "adapter_config.json"),
    "settings of brackets": lambda f: replace(f / "adapter_config.json", DEEP),
    "settings without a base": lambda f: change(f / "adapter_config.json", base_model_name_or_path=None),
    "settings with a base that is a list": lambda f: change(
        f / "adapter_config.json", base_model_name_or_path=["x" * 1000]
    ),
    "of a kind that is none": lambda f: change(f / "adapter_config.json", peft_type="MAGIC"),
    "a rank of 0": lambda f: change(f / "adapter_config.json", r=0),
    "a rank that is text": lambda f: change(f / "adapter_config.json", r="eight"),
    "another rank": lambda f: change(f / "adapter_config.json", r=3),
    "layers that are none": lambda f: change(f / "adapter_config.json", target_modules=["no_proj"]),
    "no weights": lambda f: (f / ADAPTER).unlink(),
    "weights cut off": lambda f: truncate(f / ADAPTER),
    "weights empty": lambda f: replace(f / ADAPTER, b""),
    "weights of another shape": lambda f: reshape(f / ADAPTER),
    "weights that are no numbers": lambda f: fill_with_nan(f / ADAPTER),
    "weights a folder": lambda f: replace(f / ADAPTER),
}


@pytest.mark.parametrize("place", ["adapter", "checkpoints/step-2"])
@pytest.mark.parametrize("number", range(len(ADAPTERS)), ids=list(ADAPTERS))
def test_a_damaged_adapter(program, number, place):
    damaged = program.run(f"adapter-{number}-{place.partition('/')[0]}")
    list(ADAPTERS.values())[number](damaged.folder / place)
    with pytest.raises((RunError, ModelError)) as refused:
        program.workbench.lab.load_run(damaged.id, step=None if place == "adapter" else 2)
    check_sentence(refused.value, str(damaged.folder), damaged.id, damaged.config().model.model_name)


def test_the_intact_run_loads_after_all_the_damaged_ones(program):
    assert program.workbench.lab.load_run(WHOLE).linear_layers > 0
    program.check_page(WHOLE)


CHECKPOINTS = {
    "no adapter": lambda f: (f / ADAPTER).unlink(),
    "the adapter cut off": lambda f: truncate(f / ADAPTER),
    "the adapter of another shape": lambda f: reshape(f / ADAPTER),
    "no optimizer": lambda f: (f / "optimizer.safetensors").unlink(),
    "the optimizer cut off": lambda f: truncate(f / "optimizer.safetensors"),
    "the optimizer of another shape": lambda f: reshape(f / "optimizer.safetensors"),
    "no resume.json": lambda f: (f / "resume.json").unlink(),
    "resume.json of brackets": lambda f: replace(f / "resume.json", DEEP),
    "resume.json with nothing in it": lambda f: replace(f / "resume.json", "{}"),
    "resume.json: the optimizer a list": lambda f: change(f / "resume.json", optimizer=[1]),
    "resume.json: the schedule a number": lambda f: change(f / "resume.json", scheduler=3),
    "resume.json: random states of text": lambda f: change(f / "resume.json", random={"python": "x"}),
    "resume.json: random states that are short": lambda f: change(
        f / "resume.json",
        random={"python": [3, [1, 2], None], "numpy": ["MT19937", [1], 0, 0, 0.0], "torch": [1, 2], "cuda": None},
    ),
    "no trainer_state.json": lambda f: (f / "trainer_state.json").unlink(),
    "trainer_state.json a list": lambda f: replace(f / "trainer_state.json", "[]"),
    "trainer_state.json: a step that is text": lambda f: change(f / "trainer_state.json", global_step="two"),
    "trainer_state.json: what is unknown": lambda f: change(f / "trainer_state.json", colour="red"),
    "progress.json with a step alone": lambda f: replace(f / "progress.json", '{"step": 2}'),
    "progress.json: losses of text": lambda f: change(
        f / "progress.json", losses="x", loss_sum="x", tokens="x", seconds="x", best="x"
    ),
}


@pytest.mark.parametrize("number", range(len(CHECKPOINTS)), ids=list(CHECKPOINTS))
def test_a_damaged_checkpoint_is_not_resumed_from(program, number):
    damaged, workbench = program.run(f"checkpoint-{number}"), program.workbench
    list(CHECKPOINTS.values())[number](damaged.folder / "checkpoints" / "step-2")
    try:
        workbench.resume(damaged.id)
        snapshot = workbench.wait()
        assert snapshot.status == "failed", snapshot
        sentence = snapshot.message.removesuffix(" What was trained until then is kept as an adapter.")
    except RunError as error:
        sentence = str(error)
    check_sentence(sentence, str(damaged.folder))
    assert not workbench.is_training and not workbench.busy_with


def test_the_program_starts_with_everything_damaged_at_once(program):
    check_start(program.runs_dir)
