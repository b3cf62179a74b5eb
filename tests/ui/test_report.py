"""A run's report: one file that needs nothing, holds nothing private, and stays small however long the run."""

import math
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import pytest

from core.comparing.proof import Proof
from core.comparing.votes import Vote, append_vote
from core.evaluation.record import Evaluation, Forgetting, Measure, ReadRow, Source
from core.evaluation.saved import save
from core.model.weight_changes import GroupMoved, Moved, RowsMoved, TokenMoved
from core.runs.events import (
    Change,
    Evaluated,
    Finished,
    HeldOut,
    LearningGroup,
    MemorySampled,
    Receipt,
    Sampled,
    StatusChanged,
    StepDone,
    to_line,
)
from core.runs.run_folder import create_run, open_run
from core.settings.run_config import RunConfig, flatten
from core.workbench.model_slot import ModelState
from core.workbench.workbench import Workbench
from tests.conftest import PROJECT
from ui.compare.measure_view import evaluation_text
from ui.compare.proof_view import change, proof_text
from ui.report.proof_and_report_tab import ProofTab
from ui.report.report import POLICY, make_report, without_path, write_report

HOSTILE = "</style></title><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>\"'&\u202e\x00"
TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"
VOID = {"meta", "br", "img", "link", "input"}


class Parsed(HTMLParser):
    """The tags with their attributes, the text outside of the style, and whether every tag is closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(str(html))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.text += data

    @property
    def attributes(self) -> list[tuple[str, str]]:
        return [(name, value or "") for _, attributes in self.tags for name, value in attributes.items()]


def a_proof(run_id: str, **values) -> Proof:
    moved = Moved(
        kinds=(GroupMoved(name="q_proj", change=0.123, tensors=2), GroupMoved(name="k_proj", change=0.0004, tensors=2)),
        layers=(GroupMoved(name="layer 0", change=0.05, tensors=2), GroupMoved(name="layer 1", change=0.06, tensors=2)),
        embeddings=(RowsMoved(name="embed_tokens and lm_head", change=0.02, rows=512, rows_moved=510,
                              most=(TokenMoved(id=7, text="␣<b>Yoda", change=1.5),)),),
    )  # fmt: skip
    usual = {"pane": run_id, "made": 1.76e9, "tokens": 20, "base_before": "a" * 64, "base_now": "a" * 64,
             "tuned": "b" * 64, "difference": 9.87, "moved": moved}  # fmt: skip
    return Proof(**usual | values)


def an_evaluation(text: str = "words", made: float = 1.76e9) -> Evaluation:
    measures = (
        Measure(key="loss", rows=60, better="lower", base=3.9, tuned=0.2, difference=-3.7, low=-3.9, high=-3.5),
        Measure(key="exact", rows=60, better="higher", base=0.0, tuned=0.92, difference=0.92, low=0.85, high=0.98),
        Measure(key="perplexity", rows=60, better="lower", base=math.inf, tuned=1.2, difference=-math.inf,
                low=None, high=None),
    )  # fmt: skip
    row = ReadRow(question=text, reference=text, base=text, tuned=text, base_loss=1.0, tuned_loss=0.5)
    forgotten = Forgetting(prompts=40, base_loss=2.9, tuned_loss=3.31, low=0.3, high=0.5, random_loss=11.0)
    source = Source(kind="file", path=f"{PROJECT}/{text[:20]}/rows.csv")
    return Evaluation(made=made, rows=60, max_new_tokens=64, measures=measures, gained=(row, row), lost=(row,),
                      source=source, forgetting=forgotten)  # fmt: skip


def a_run(runs_dir, steps: int = 60, votes: int = 3, text: str = "words", name: str = "Yoda", config=None):
    """A run with all that a run can have, its history written as the program writes it."""
    run = create_run(runs_dir, name, config or RunConfig())
    place = str(run.adapter_dir)
    receipt = Receipt(
        time=1.76e9, trainable_parameters=1000, total_parameters=260_000, precision="4-bit", optimizer="AdamW",
        groups=(LearningGroup(name="adapter", learning_rate=2e-4, weight_decay=0.01, parameters=1000),),
        max_steps=steps, train_rows=60, validation_rows=6, trained_tokens_share=0.4, notes=(f"Kept in {place}.", text),
        changes=(Change(setting="optim", asked=place, runs="adamw_torch", reason=text),),
    )  # fmt: skip
    events = [StatusChanged(time=1.76e9, status="training", message="On it"), receipt]
    events += [
        StepDone(time=1.76e9 + step, step=step, max_steps=steps, epoch=step / steps, loss=4 / step + (step % 7) / 50,
                 learning_rate=2e-4, grad_norm=1.0, tokens=step * 100, elapsed=step / 2)
        for step in range(1, steps + 1)
    ]  # fmt: skip
    for step in range(steps // 10, steps + 1, max(steps // 10, 1)):
        events.append(Evaluated(time=1.76e9, step=step, eval_loss=3 / step))
        events.append(Sampled(time=1.76e9, step=step, by="tuned", prompts=(text,), answers=(f"{step} {text}",)))
    events.append(MemorySampled(time=1.76e9, used_by_us_gib=1, in_use_gib=2, total_gib=8, available_gib=4))
    events.append(HeldOut(rows=6, base_loss=3.9, tuned_loss=0.2, base_exact=0, tuned_exact=0.92,
                          base_ends=1, tuned_ends=1))  # fmt: skip
    events.append(Finished(steps=steps, runtime_s=30, tokens_per_s=900, peak_memory_gib=1,
                           peak_memory_for_training_gib=0.5, total_memory_gib=8, adapter_dir=place))  # fmt: skip
    events.append(StatusChanged(time=1.76e9 + 60, status="completed", message=f"Done, kept in {place}."))
    with open(run.folder / "events.jsonl", "w", encoding="utf-8") as file:
        file.writelines(to_line(event) + "\n" for event in events)
    for number in range(votes):
        left, right = ("base", run.id) if number % 2 else (run.id, "base")
        choice = "left" if left == run.id else "right"
        append_vote(run.folder, Vote(time=1.76e9, prompt=f"{number} {text}", left=left, right=right, left_answer=text,
                                     right_answer=text, choice=choice, contender=run.id))  # fmt: skip
    (run.folder / "proof.json").write_text(a_proof(run.id).model_dump_json(), encoding="utf-8")
    save(an_evaluation(text), run.folder)
    return run


def test_the_whole_report_says_what_the_run_was(runs_dir):
    config = RunConfig().with_settings(["training.learning_rate=0.0005", "adapter.r=32"])
    run = a_run(runs_dir, votes=25, config=config)
    place = write_report(run)
    assert place == run.folder / "report.html"
    html = place.read_text(encoding="utf-8")
    text = " ".join(Parsed(html).text.split())
    for said in (
        "Yoda", "Done, kept in adapter.", "llama-3.2-1b-instruct-bnb-4bit", "yoda.jsonl",
        "On 6 rows that it was not trained on", "Curves", "Answers during training", "step 60",
        "on 60 rows of rows.csv", "Exact match", "+85.0 pp to +98.0 pp", "much worse", "Rows that gained most (2)",
        "25 of 25: better.", "It won 100%", "bit for bit", "9.87", "510 of its 512 rows", "may contain texts",
        "What really trains", "adamw_torch", f"2 of {len(flatten(config))} settings differ",
        "Rank (adapter.r)32 (default 16)", "torch", "kept with the run",
    ):  # fmt: skip
        assert said.lower() in text.lower(), said
    settings = text[text.index("settings differ") :]
    assert settings.index("(training.learning_rate)5e-4") < settings.index(f"All {len(flatten(config))} settings")
    assert html.count("<svg") == 4 and "<polyline" in html


def test_it_needs_nothing_and_runs_nothing(runs_dir):
    html = make_report(a_run(runs_dir, text=HOSTILE, name=HOSTILE))
    parsed = Parsed(html)
    names = {tag for tag, _ in parsed.tags}
    assert not names & set("script img iframe link object embed form base a audio video foreignobject".split())
    loading = set("src href srcset action data background xlink:href".split())
    assert not {name for name, _ in parsed.attributes} & loading
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert {"http-equiv": "Content-Security-Policy", "content": POLICY} in [attributes for _, attributes in parsed.tags]
    assert "url(" not in html.split("</style>")[0] and "@import" not in html
    assert parsed.text.count("<script>alert(1)</script>") > 8  # as text: the name, prompts, answers, votes, rows


def test_nothing_private_is_in_it(runs_dir, monkeypatch):
    monkeypatch.setenv("HOME", "/people/anna")
    config = RunConfig().with_settings([
        f"model.model_name={PROJECT}/presets/demo-llama", "data.path=/home/jo smith/secret/rows.csv",
        r"data.validation_path=C:\Users\jo smith\more.csv", f"adapter.continue_from={runs_dir}/20250101-000000-x",
    ])  # fmt: skip
    run = a_run(runs_dir, text=f"it said {TOKEN} in {PROJECT}/x, /people/anna/y", config=config)
    run.write_about(note="my own words")
    html = make_report(open_run(run.folder))
    folders = str(PROJECT), str(runs_dir), str(run.folder)
    for private in (*folders, "/home/", "C:\\", "jo smith", "anna", TOKEN, "my own words"):
        assert private not in html, private
    for kept in ("demo-llama", "rows.csv", "more.csv", "20250101-000000-x"):
        assert kept in html


def test_measures_look_as_they_do_on_the_page(runs_dir):
    run = a_run(runs_dir)
    shown = evaluation_text(an_evaluation())
    assert '<td class="verdict good">better</td>' in shown and shown in make_report(run)


@pytest.mark.parametrize("home", ["/main", "/body", "/head", "/"])
def test_a_working_folder_named_as_a_tag_takes_no_tag_away(runs_dir, monkeypatch, home):
    monkeypatch.setattr(Path, "cwd", lambda: Path(home))
    monkeypatch.setenv("HOME", home)
    html = make_report(a_run(runs_dir))
    Parsed(html)
    for tag in ("head", "body", "main"):
        assert html.count(f"</{tag}>") == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The adapter in /home/jo smith/a/ada is damaged.", "The adapter in ada is damaged."),
        ("No run in C:\\Users\\Jo D\\runs: full", "No run in runs: full"),
        ("in /Users/jo", "in …"),
        ("made for unsloth/Llama, 3/4 and/or 900 tokens/s", "made for unsloth/Llama, 3/4 and/or 900 tokens/s"),
        ("'/mnt/d/rows.json' and (\\\\server\\share\\x)", "'rows.json' and (x)"),
    ],
)
def test_a_path_is_cut_down_to_its_last_part(said, told):
    assert without_path(said) == told


def test_a_very_long_run_makes_a_small_report(runs_dir):
    run = a_run(runs_dir, steps=100_000, votes=500, text="Sätze, länger als man sie lesen will. " * 100)
    for number in range(8):
        save(an_evaluation("Noch ein langer Satz & mehr. " * 500, made=1.76e9 + number), run.folder)
    html = make_report(run)
    assert 100_000 < len(html.encode()) < 800_000
    text = Parsed(html).text
    assert "characters in all" in text and "of 500 votes, to read" in text and "5 earlier ones not shown here." in text
    assert "100,000" in text


def test_a_part_beyond_all_measure_is_left_out_and_said(runs_dir):
    run = a_run(runs_dir)
    many = tuple(f"note {number} & <i>" * 50 for number in range(5000))
    receipt = Receipt(trainable_parameters=1, total_parameters=2, groups=(), precision="", optimizer="", max_steps=1,
                      train_rows=1, validation_rows=0, trained_tokens_share=1, notes=many)  # fmt: skip
    run.append(receipt)
    html = make_report(run)
    assert len(html.encode()) < 300_000
    assert "ReceiptThis part is too long for a report" in Parsed(html).text


def test_a_run_of_which_there_is_nothing_yet(runs_dir):
    run = create_run(runs_dir, "Empty", RunConfig())
    text = Parsed(make_report(run)).text
    for absent in (
        "Curves",
        "Proof",
        "Blind votes",
        "Measured",
        "What really trains",
        "Answers during training",
        "At the end",
    ):
        assert absent not in text, absent
    assert "preparing" in text and "default values" in text and "differ" not in text


def test_damaged_files_are_left_out(runs_dir):
    run = a_run(runs_dir)
    for name in ("proof.json", "config.yaml", "votes.jsonl"):
        (run.folder / name).write_bytes(b"\xff\x00 {")
    next((run.folder / "evaluations").iterdir()).write_text("{", encoding="utf-8")
    text = Parsed(make_report(run)).text
    for absent in ("Proof", "Blind votes", "Measured", "Settings"):
        assert absent not in text, absent
    assert "Curves" in text


def test_what_a_proof_looks_like(runs_dir):
    good = Parsed(proof_text(a_proof("20251121-235300-demo-yoda/checkpoints/step-40")))
    assert "Receipt for demo-yoda, 21 Nov 23:53, step 40" in good.text
    assert "✓ equal" in good.text and "✓ differs" in good.text and ("title", "a" * 64) in good.attributes
    assert "␣<b>Yoda 150%" in good.text and ("style", "width:100.0%") in good.attributes
    broken = Parsed(proof_text(a_proof("x", base_before="c" * 64)))
    assert "✗ not equal" in broken.text and ("class", "notice error") in broken.attributes
    same = Parsed(proof_text(a_proof("x", tuned="a" * 64, moved=Moved()))).text
    assert "✗ same as base" in same and "no weight differs" in same
    unknown = Parsed(proof_text(a_proof("x", base_before=None))).text
    assert "not recorded" in unknown and "nothing to compare with" in unknown


def test_changes_in_words():
    assert [change(share) for share in (0, 1e-9, 0.0001234, 0.0123, 0.0996, 0.5, 12.34)] == [
        "0%", "under 0.0001%", "0.012%", "1.2%", "10%", "50%", "1,234%",
    ]  # fmt: skip


# The tab


@pytest.fixture
def tab(runs_dir):
    """The tab with a run on the model."""
    run, workbench = a_run(runs_dir), Workbench(runs_dir)
    with gr.Blocks() as page:
        tab = ProofTab(workbench, gr.Textbox())
    workbench._slot.state = ModelState(adapter=run.id)
    return tab, run, page


def test_beside_the_button_it_says_what_goes_to_a_friend(tab):
    shown = [
        part.value for part in tab[2].blocks.values() if isinstance(part, gr.HTML) and part.elem_id == "report-holds"
    ]
    assert len(shown) == 1 and "before you send it" in shown[0]


def test_what_hinders_the_report_is_said_as_it_is(tab):
    tab, run, _ = tab
    (run.folder / "report.html").mkdir()
    assert 'class="notice error"' in tab._report() and "is a directory" in tab._report()
    (run.folder / "report.html").rmdir()
    assert 'class="notice good"' in tab._report() and (run.folder / "report.html").is_file()


def test_a_run_that_is_not_in_the_list_is_not_opened(tab, tmp_path):
    tab, _, _ = tab
    assert "bit for bit" in tab.live()[tab.receipt]["value"]
    elsewhere = a_run(tmp_path / "elsewhere")
    tab._workbench._slot.state = ModelState(adapter=str(elsewhere.folder))
    assert tab.live()[tab.receipt]["value"] == ""
    assert 'class="notice error"' in tab._report() and not (elsewhere.folder / "report.html").exists()
