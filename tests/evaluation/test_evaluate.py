"""Base and tuned measured together on the real model, compared with answers and losses computed row by row."""

import json
import math
import shutil
import statistics
import time
from contextlib import nullcontext

import pytest

from core.data.prepared.prepare import prepare
from core.evaluation.batched_answers import MAX_NEW_TOKENS, answer_limit, batches, cache_bytes, given, room
from core.evaluation.evaluate import evaluate
from core.evaluation.forgetting import GENERAL_QUESTIONS, general_rows
from core.evaluation.question_rows import row_of, row_of_prompt
from core.evaluation.record import Evaluation, Source
from core.evaluation.rouge import rouge_l
from core.evaluation.saved import load_evaluations, save
from core.model.adapters_on_base import FIRST_ADAPTER
from core.model.views import base_view, for_inference
from core.problems import Busy, DataError, RunError
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import find_run
from core.threads import Stopped
from core.workbench.desk import MEASURING
from core.workbench.measure_run import OTHER_ROWS, UNKNOWN_ROWS, evaluate_run, note_on_rows
from core.workbench.rows_to_measure import rows_of
from tests.conftest import data_file, load_for, small_config, write_rows

BOTH = (None, FIRST_ADAPTER)


def measured(loaded, rows, **kwargs) -> Evaluation:
    return evaluate(loaded, BOTH, rows, lambda: False, lambda share, words: None, **kwargs)


def one_loss(loaded, row, base: bool) -> float:
    """Summed negative log likelihood of the trained tokens of one row, by itself."""
    import torch

    with torch.inference_mode(), for_inference(loaded), base_view(loaded) if base else nullcontext():
        logits = loaded.model(input_ids=torch.tensor([row.input_ids.tolist()]), use_cache=False).logits
    likely = logits[0].float().log_softmax(-1)
    return -sum(float(likely[at - 1, label]) for at, label in enumerate(row.labels) if at and label != -100)


def one_answer(loaded, row, limit: int, base: bool) -> str:
    """The likeliest answer to one row by transformers' own generate, as long as the model's length allows."""
    import torch

    with for_inference(loaded), base_view(loaded) if base else nullcontext():
        ids = torch.tensor([row.question])
        out = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=min(limit, loaded.report.max_seq_length - row.asked),
            eos_token_id=loaded.eos_token_ids,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )
    return loaded.tokenizer.decode(out[0, row.asked :], skip_special_tokens=True).strip()


@pytest.fixture(scope="module")
def many(trained, tmp_path_factory):
    """Twelve rows of the run, and ten with longer and other answers, so that batches are padded on both sides."""
    words = "the little girl was happy and ran to her mom in the big park".split()
    others = [
        {"instruction": f"Tell of {' '.join(words[:n])}.", "output": " ".join(words[: 14 - n])} for n in range(2, 12)
    ]
    config = data_file(tmp_path_factory.mktemp("rows") / "more.jsonl", *others)
    config.prompt_template = "alpaca"
    more = prepare(config, trained.loaded.tokenizer, 256, True).train
    examples = [*trained.data.train, *trained.data.validation, *more]
    return [row_of(example, trained.loaded.tokenizer) for example in examples if not example.is_cut]


def test_an_adapter_of_known_effect_shows_its_exact_figures(in_float32, many):
    loaded = in_float32
    found = measured(loaded, many)
    limit = answer_limit(many)
    assert (found.rows, found.max_new_tokens) == (len(many), limit)
    for base, side in ((True, "base"), (False, "tuned")):
        answers = [one_answer(loaded, row, limit, base) for row in many]
        exact = sum(answer == row.reference for answer, row in zip(answers, many, strict=True)) / len(many)
        assert getattr(found.measure("exact"), side) == exact
        rouge = [rouge_l(answer, row.reference) for answer, row in zip(answers, many, strict=True)]
        assert getattr(found.measure("rouge_l"), side) == pytest.approx(statistics.fmean(rouge), abs=1e-12)
        tokens = sum(label != -100 for row in many for label in row.labels)
        losses = [one_loss(loaded, row, base) for row in many]
        assert getattr(found.measure("loss"), side) == pytest.approx(sum(losses) / tokens, rel=1e-5)
    assert found.measure("exact").tuned > found.measure("exact").base == 0
    learned = measured(loaded, many[:12])  # of what it learned alone, without the others
    assert learned.measure("loss").verdict == learned.measure("rouge_l").verdict == "better"
    assert found.measure("exact").low > 0 and found.measure("exact").verdict == "better"
    assert {read.reference for read in found.gained} == {"the cat"} and found.gained[0].tuned == "the cat"
    assert "Say" in found.gained[0].question and found.gained[0].base != "the cat"


def test_answers_of_a_batch_are_those_of_rows_by_themselves(in_float32, many):
    loaded, limit = in_float32, 20
    for base in (True, False):
        with for_inference(loaded), base_view(loaded) if base else nullcontext():
            together = given(loaded, many, limit, lambda: False)
            alone = [given(loaded, [row], limit, lambda: False)[0] for row in many]
        assert [one.text for one in together] == [one.text for one in alone]
        assert [(one.tokens, one.ended, one.repeated) for one in together] == [
            (one.tokens, one.ended, one.repeated) for one in alone
        ]
        texts = {one.text for one in together}
        if base:
            assert len(texts) > 10  # nearly all different, so equal answers are no coincidence
        else:
            assert texts == {"the cat"}  # what it learned


def test_a_tuned_model_that_is_the_base_shows_no_difference_at_all(trained, many):
    loaded = load_for(trained.config)  # a fresh adapter: all lora_B are zero, the embeddings the base's
    general = general_rows(loaded, "alpaca")
    found = measured(loaded, many, general=general)
    keys = {"loss", "perplexity", "exact", "rouge_1", "rouge_2", "rouge_l", "bleu", "ends", "length", "repetition"}
    assert {one.key for one in found.measures} == keys
    assert [(one.difference, one.low, one.high, one.verdict) for one in found.measures] == [
        (0, 0, 0, "no difference")
    ] * 10
    assert [(one.reference, one.base) for one in found.answers] == [
        (row.reference, one.tuned) for row, one in zip(many, found.answers, strict=True)
    ], "all rows are kept, in order"
    assert all(one.base == one.tuned for one in found.measures)
    assert (found.gained, found.lost, found.differing) == ((), (), ())
    told = found.forgetting
    assert (told.base_loss, told.low, told.high) == (told.tuned_loss, 0, 0)


def test_prompts_without_references_leave_out_what_needs_one(trained, monkeypatch):
    assert MAX_NEW_TOKENS == 256
    monkeypatch.setattr("core.evaluation.batched_answers.MAX_NEW_TOKENS", 32)
    tokenizer = trained.loaded.tokenizer
    rows = [
        row_of_prompt(f"Once upon a time, {who}", tokenizer) for who in ("a cat", "a dog", "a boy", "Tom", "Lily", "he")
    ]
    found = measured(trained.loaded, rows)
    assert [one.key for one in found.measures] == ["ends", "length", "repetition"]
    assert found.max_new_tokens == 32 and found.measure("length").rows == 6
    assert (found.gained, found.lost) == ((), ())
    assert found.differing and all(read.base != read.tuned and read.reference is None for read in found.differing)


def test_plain_text_has_losses_alone(trained, tmp_path):
    texts = [{"text": f"Once upon a time there was a {who}."} for who in ("cat", "dog", "boy", "girl", "bird", "tree")]
    examples = prepare(data_file(tmp_path / "a.jsonl", *texts), trained.loaded.tokenizer, 64, True).train
    found = measured(trained.loaded, [row_of(example, trained.loaded.tokenizer) for example in examples])
    assert [one.key for one in found.measures] == ["loss", "perplexity"]
    assert len(found.gained) + len(found.lost) == 6
    assert all(
        read.question.startswith("Once upon a time") and read.base == "" for read in (*found.gained, *found.lost)
    )


def test_forgetting_is_the_loss_on_our_own_questions(trained, many):
    loaded = trained.loaded
    general = general_rows(loaded, "alpaca")
    told = measured(loaded, many[:6], general=general).forgetting
    tokens = sum(label != -100 for row in general for label in row.labels)
    for base, loss in ((True, told.base_loss), (False, told.tuned_loss)):
        assert loss == pytest.approx(sum(one_loss(loaded, row, base) for row in general) / tokens, rel=0.02)
    assert told.prompts == len(general) and told.random_loss == math.log(512)
    assert told.low < told.tuned_loss - told.base_loss < told.high


def test_the_general_questions_are_whole_and_written_as_the_run_writes_its_rows(demo_tokenizer, chat_tokenizer):
    lines = [json.loads(line) for line in GENERAL_QUESTIONS.read_text(encoding="utf-8").splitlines()]
    assert 24 <= len(lines) <= 40 and all(set(line) == {"instruction", "output"} for line in lines)
    assert len({line["instruction"] for line in lines}) == len(lines) and all(all(line.values()) for line in lines)

    class Report:
        max_seq_length = 512

    class Loaded:
        report = Report()

    loaded = Loaded()
    for tokenizer, template, asks in (
        (chat_tokenizer, "chat", "<|start_header_id|>assistant<|end_header_id|>\n\n"),
        (chat_tokenizer, "alpaca", "### Response:\n"),
        (chat_tokenizer, "{text}", "What is the capital of France?\n"),
    ):
        loaded.tokenizer = tokenizer
        row = general_rows(loaded, template)[0]
        # That tokenizer, when it decodes, puts spaces behind special tokens.
        assert tokenizer.decode(row.question).replace(" ", "").endswith(asks.replace(" ", ""))
        assert row.reference == "Paris"


def test_batches_are_of_like_length_and_bounded(trained, many, monkeypatch):
    loaded = trained.loaded
    assert list(map(sorted, batches(loaded, many, 20))) == [list(range(len(many)))]
    monkeypatch.setattr("core.evaluation.batched_answers.MAX_ROWS", 4)
    small = list(batches(loaded, many, 20))
    assert sorted(place for batch in small for place in batch) == list(range(len(many)))
    assert [len(batch) for batch in small] == [4, 4, 4, 4, 4, 2]
    shapes = [(-(-many[place].asked // 32), many[place].wanted) for batch in small for place in batch]
    assert shapes == sorted(shapes, reverse=True) and len(set(shapes)) > 6
    size = cache_bytes(loaded)
    assert size == 2 * 5 * 4 * 8 * loaded.model.dtype.itemsize  # keys and values, layers, heads, values a head
    monkeypatch.setattr("core.evaluation.batched_answers.MAX_CACHE_BYTES", 300 * size)
    bounded = list(batches(loaded, many, 20))
    for batch in bounded:
        longest = max(many[place].asked + 20 for place in batch)
        assert len(batch) == 1 or len(batch) * longest <= 300
    assert max(map(len, bounded)) > 1 and len(bounded) > len(small)


def test_a_question_near_the_models_length_gets_the_room_there_is_and_no_more(trained):
    loaded = trained.loaded
    most = loaded.report.max_seq_length
    ids = loaded.tokenizer("Once upon a time there was a cat. " * 40, add_special_tokens=False)["input_ids"][: most - 5]
    long = row_of_prompt(loaded.tokenizer.decode(ids), loaded.tokenizer)
    short = row_of_prompt("Once upon a time", loaded.tokenizer)
    assert most - 8 < long.asked < most
    assert (room(loaded, short, 16), room(loaded, long, 16)) == (16, most - long.asked)
    with for_inference(loaded), base_view(loaded):
        answers = given(loaded, [short, long], 16, lambda: False)
    assert [(one.tokens, one.ended) for one in answers] == [(16, False), (most - long.asked, False)]


@pytest.mark.slow
@pytest.mark.parametrize("fits", [1, 3])
def test_a_batch_for_which_memory_runs_out_is_halved_until_it_fits(in_float32, many, fits):
    import torch

    loaded, sizes, refused = in_float32, [], []
    some = [*many[:4], *many[12:16]]

    def want_too_much(module, inputs) -> None:
        if len(inputs[0]) > fits:
            refused.append(len(inputs[0]))
            torch.empty(2**48, dtype=torch.float32)  # more than there is: torch's own allocator refuses it
        sizes.append(len(inputs[0]))

    whole = measured(loaded, some)
    hook = loaded.model.get_input_embeddings().register_forward_pre_hook(want_too_much)
    try:
        found = measured(loaded, some)
    finally:
        hook.remove()
    assert refused[0] == len(some) and set(sizes) <= {1, 2, 3} and max(sizes) <= fits
    assert [(one.key, one.rows) for one in found.measures] == [(one.key, one.rows) for one in whole.measures]
    for key in ("exact", "rouge_l", "ends", "length"):
        assert found.measure(key) == whole.measure(key)
    assert found.measure("loss").base == pytest.approx(whole.measure("loss").base, rel=1e-5)
    assert (found.rows, found.max_new_tokens) == (whole.rows, whole.max_new_tokens)


def test_a_row_for_which_memory_runs_out_by_itself_ends_it(trained, many):
    import torch

    refused = []

    def want_too_much(module, inputs) -> None:
        refused.append(len(inputs[0]))
        torch.empty(2**48, dtype=torch.float32)

    hook = trained.loaded.model.get_input_embeddings().register_forward_pre_hook(want_too_much)
    try:
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            measured(trained.loaded, many)
    finally:
        hook.remove()
    assert refused == [22, 11, 5, 2, 1]
    assert trained.loaded.model.training and trained.loaded.model.active_adapters == [FIRST_ADAPTER]


@pytest.mark.parametrize("looks", [0, 1, 2, 5])
def test_a_stop_is_noticed_and_leaves_the_model_as_it_was(trained, many, looks):
    calls = []

    def should_stop() -> bool:
        calls.append(None)
        return len(calls) > looks

    with pytest.raises(Stopped):
        evaluate(trained.loaded, BOTH, many, should_stop, lambda share, words: None)
    assert len(calls) < looks + 5  # one token at most after the stop
    assert trained.loaded.model.training and trained.loaded.model.active_adapters == [FIRST_ADAPTER]


def test_progress_grows_to_the_whole(trained, many):
    told = []
    evaluate(trained.loaded, BOTH, many, lambda: False, lambda share, words: told.append((share, words)))
    assert told[0] == (0.0, "0 of 22 rows") and told[-1] == (1.0, "22 of 22 rows")
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    evaluate(trained.loaded, BOTH, many[:2], lambda: False, lambda *so_far: told.append(so_far), general=many[:1])
    assert told[-2:] == [(1.0, f"All 2 rows are done; general questions, model {n} of 2") for n in (1, 2)]


# A run's


@pytest.fixture(scope="module")
def workbench(unsloth, stories, tmp_path_factory):
    """With one finished run of few steps on it."""
    from core.workbench.workbench import Workbench

    folder = tmp_path_factory.mktemp("workbench")
    bench = Workbench(folder / "runs")
    config = small_config(stories, write_rows(folder / "rows.json"), "data.validation_share=0.5")
    bench.start(config, "small")
    assert bench.wait(120).status == "completed"
    return bench


@pytest.fixture
def run(workbench):
    return find_run(workbench.runs_dir, workbench.snapshot.run_id)


def quiet(share, words):
    pass


def test_a_runs_validation_rows_are_measured_and_kept(workbench, run):
    before = time.time()
    found = evaluate_run(workbench.lab, run, Source(), lambda: False, quiet)
    assert (found.run_id, found.rows, found.source, found.left_out) == (run.id, 6, Source(kind="validation"), 0)
    assert before <= found.made <= time.time()
    assert found.measure("exact").rows == 6
    assert 6 < found.forgetting.prompts < 36  # those that fit into the 128 tokens of this run
    assert load_evaluations(run.folder)[0] == found
    assert workbench.busy_with == ""
    held = workbench.snapshot.heldout
    assert found.measure("loss").base == pytest.approx(held.base_loss, rel=0.01)
    assert found.measure("exact").tuned == held.tuned_exact


def test_a_file_and_prompts_are_read_as_the_run_reads_its_rows(workbench, run, tmp_path):
    file = tmp_path / "others.jsonl"
    file.write_text("".join(json.dumps({"instruction": f"Say {n}.", "output": str(n)}) + "\n" for n in range(10)))
    found = evaluate_run(workbench.lab, run, Source(kind="file", path=str(file)), lambda: False, quiet, most_rows=8)
    assert found.rows == found.measure("no_number").rows == found.measure("within_10").rows == 8
    asked = {read.question for read in (*found.gained, *found.lost)}
    assert asked and asked <= {f"Say {n}." for n in range(10)}  # without the words of the prompt template around it
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Say red.\nSay blue.\n")
    found = evaluate_run(workbench.lab, run, Source(kind="prompts", path=str(prompts)), lambda: False, quiet)
    assert found.rows == 2 and found.measure("loss") is None and found.measure("ends").low is None


def test_stopping_leaves_nothing_saved(workbench, run, tmp_path):
    before = load_evaluations(run.folder)
    reported = []
    with pytest.raises(Stopped):
        evaluate_run(
            workbench.lab,
            run,
            Source(),
            lambda: bool(reported and reported[-1] > 0),
            lambda share, _: reported.append(share),
        )
    assert load_evaluations(run.folder) == before and workbench.busy_with == ""
    assert list((run.folder / "evaluations").glob(".*")) == []


def test_what_cannot_be_measured_is_refused(workbench, run, tmp_path):
    with pytest.raises(DataError, match="none.csv"):
        evaluate_run(workbench.lab, run, Source(kind="file", path=str(tmp_path / "none.csv")), lambda: False, quiet)
    config = run.config().with_settings(["data.validation_share=0"])
    with pytest.raises(DataError, match="validation"):
        rows_of(Source(), config, workbench._slot.loaded, 200)
    prompts = tmp_path / "long.txt"
    prompts.write_text("Say " * 500)
    with pytest.raises(DataError, match="128 tokens"):
        evaluate_run(workbench.lab, run, Source(kind="prompts", path=str(prompts)), lambda: False, quiet)
    assert workbench.busy_with == ""


def test_rows_that_changed_since_the_training_are_noted(workbench, unsloth, stories, tmp_path):
    """Found by the run's checkpoint; when there is none, the note says so."""
    rows = write_rows(tmp_path / "rows.json")
    config = small_config(stories, rows, "data.validation_share=0.5", "training.save_steps=2")
    for questions_too in (False, True):
        config = config.with_settings([f"training.completion_only_loss={'no' if questions_too else 'yes'}"])
        run = workbench.start(config, "kept")
        assert workbench.wait(120).status == "completed" and run.checkpoints()
        loaded, before = workbench._slot.loaded, rows.read_text()
        assert note_on_rows(run, loaded) == ""
        rows.write_text(json.dumps(list(reversed(json.loads(before)))))
        assert note_on_rows(run, loaded) == OTHER_ROWS
        assert evaluate_run(workbench.lab, run, Source(), lambda: False, quiet).note == OTHER_ROWS
        rows.write_text(before)
        assert evaluate_run(workbench.lab, run, Source(), lambda: False, quiet).note == ""
    (run.checkpoints()[-1].folder / "progress.json").write_text('{"step": 2}')
    assert note_on_rows(run, loaded) == UNKNOWN_ROWS
    shutil.rmtree(run.checkpoints_dir)
    assert note_on_rows(run, loaded) == UNKNOWN_ROWS
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Say red.\n")
    assert evaluate_run(workbench.lab, run, Source(kind="prompts", path=str(prompts)), lambda: False, quiet).note == ""


def test_another_run_is_measured_while_one_is_loaded(workbench, run, stories, tmp_path):
    config = small_config(stories, write_rows(tmp_path / "rows.json"), "data.validation_share=0.5")
    other = workbench.start(config, "other")
    assert workbench.wait(120).status == "completed"
    lab, loaded, told = workbench.lab, workbench._slot.loaded, []
    first = Pane(other.id)
    assert lab.loaded_pane == first
    found = evaluate_run(lab, run, Source(), lambda: False, lambda share, words: told.append(words))
    assert found.run_id == run.id and "Loading the model" not in told
    assert lab.loaded_pane == first and workbench._slot.loaded is loaded
    # Something that came first is said as it is, and what it does goes on.
    with lab.using([BASE], "a test is going on"), pytest.raises(Busy, match="a test is going on"):
        evaluate_run(lab, run, Source(), lambda: False, quiet)
    # A base that was loaded for shorter texts would cut its rows.
    workbench.load_model(config.model.model_copy(update={"max_seq_length": 64}))
    with pytest.raises(RunError, match="64 tokens.* 128"):
        evaluate_run(lab, run, Source(), lambda: False, quiet)
    lab.load_run(run.id)
    assert evaluate_run(lab, run, Source(), lambda: False, quiet).measures == found.measures


def test_rows_are_drawn_the_same_each_time(workbench, run):
    config, loaded = run.config(), workbench._slot.loaded
    whole, _ = rows_of(Source(), config, loaded, 200)
    some, _ = rows_of(Source(), config, loaded, 3)
    assert some == rows_of(Source(), config, loaded, 3)[0] and len(some) == 3
    assert [row for row in whole if row in some] == some


def test_in_the_background_it_tells_how_far_it_is_and_ends(workbench, run, wait_until):
    work = workbench.measuring
    before = len(load_evaluations(run.folder))
    work.start(run, Source(), 6)
    with pytest.raises(RunError, match="measurement"):
        work.start(run, Source(), 6)
    wait_until(lambda: workbench.busy_with == MEASURING, "the model to be taken")
    with pytest.raises(Busy, match="measured"):
        workbench.load_model(run.config().model)
    state = work.wait(120)
    assert (state.is_doing, state.said, state.ended, state.run_id) == (False, "", 1, run.id)
    assert state.found == load_evaluations(run.folder)[0] and len(load_evaluations(run.folder)) == before + 1
    work.start(run, Source(), 6)
    wait_until(lambda: "rows" in work.state.words, "rows to be measured")
    work.stop()
    state = work.wait(60)
    assert (state.is_doing, state.was_stopped, state.found, state.ended) == (False, True, None, 1)
    assert len(load_evaluations(run.folder)) == before + 1 and workbench.busy_with == ""
    work.start(run, Source(kind="file", path="nothing.csv"), 6, "hf_secret")
    assert "nothing.csv" in work.wait(60).said


def test_damaged_evaluations_are_left_out_and_reported(trained, many, tmp_path):
    found = measured(trained.loaded, many[:6]).model_copy(update={"made": 1_700_000_000.0})
    first, second = save(found, tmp_path), save(found, tmp_path)
    assert first != second and len(load_evaluations(tmp_path)) == 2
    second.write_text(second.read_text()[:-100])
    (tmp_path / "evaluations/20200101-000000.json").write_text('{"rows": "many"}')
    said = []
    assert load_evaluations(tmp_path, said.append) == [found]
    assert len(said) == 2 and second.name in said[0] and "20200101-000000.json" in said[1]
    assert load_evaluations(tmp_path / "nothing") == []
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError) as error:
        save(found, tmp_path / "taken")
    assert error.value.values["folder"] == tmp_path / "taken" / "evaluations"
