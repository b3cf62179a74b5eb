"""A blind test on real models: shuffled sides, answers written ahead, votes that are kept, and no unfounded claim."""

import random
import shutil
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from core.answering.sampling import Sampling
from core.comparing.votes import VOTES_FILE, Tally, read_votes
from core.problems import BlindError, RunError
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import list_runs
from core.workbench.blind_test import BlindTest, Result
from core.workbench.desk import BLIND_ANSWERING, MEASURING
from core.workbench.one_blind_test import PAIRS_AHEAD
from core.workbench.workbench import Workbench
from tests.conftest import small_config
from tests.workbench.conftest import zero
from ui.compare.blind_view import result_text

SHORT, LONG = Sampling(max_new_tokens=4), Sampling(max_new_tokens=90)
PROMPTS = [f"Say {word}." for word in "one two three four five six seven eight nine ten eleven twelve".split()]


@pytest.fixture(scope="module")
def bench(copied_runs, stories) -> Workbench:
    """A workbench with a run that is loaded, and a copy of it whose adapter changes nothing: it is the base."""
    bench = Workbench(copied_runs)
    run = next(run for run in list_runs(copied_runs) if run.name == "one")
    zeroed = Path(shutil.copytree(run.folder, run.folder.with_name("20200101-000000-zeroed")))
    zero(zeroed / "adapter/adapter_model.safetensors", stories)
    bench.lab.load_run(run.id)
    return bench


@pytest.fixture
def tuned(bench) -> Pane:
    return next(Pane(run.id) for run in list_runs(bench.runs_dir) if run.id.endswith("-one"))


@pytest.fixture
def zeroed() -> Pane:
    return Pane("20200101-000000-zeroed")


@pytest.fixture
def votes_of(bench):
    def votes(pane: Pane) -> tuple:
        found = read_votes(bench.runs_dir / pane.run_id)
        assert found.damaged == 0
        return found.votes

    yield votes
    for file in bench.runs_dir.glob(f"*/{VOTES_FILE}"):
        file.unlink()


@pytest.fixture
def blind(bench, wait_until):
    blind = BlindTest(bench.lab, bench.runs, random.Random(1))
    yield blind
    blind.end()
    wait_until(lambda: not making(), "the thread's end")
    assert bench.busy_with == ""


def making() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "blind test"]


def next_pair(blind: BlindTest, wait_until):
    wait_until(lambda: blind.shown().stage != "writing", "a pair", 60)
    return blind.shown()


def vote_all(blind: BlindTest, wait_until, choose=lambda shown: "left") -> list:
    seen = []
    while (shown := next_pair(blind, wait_until)).stage == "voting":
        seen.append(shown)
        blind.vote(shown.pair, choose(shown))
    return seen


def test_answers_are_the_models_own_and_votes_say_who_wrote_them(bench, blind, tuned, votes_of, wait_until):
    blind.start([BASE, tuned], PROMPTS, SHORT)
    seen = vote_all(blind, wait_until, lambda shown: ("left", "right", "tie", "bad")[shown.number % 4])
    votes = votes_of(tuned)
    assert [vote.prompt for vote in votes] == [shown.prompt for shown in seen] == PROMPTS
    assert [(v.left_answer, v.right_answer) for v in votes] == [(s.left, s.right) for s in seen]
    assert [vote.choice for vote in votes] == ["right", "tie", "bad", "left"] * 3
    for vote in votes[:3]:
        messages = [[{"role": "user", "content": vote.prompt}]]
        for key, text in ((vote.left, vote.left_answer), (vote.right, vote.right_answer)):
            *_, (alone,) = bench.lab.answer([Pane.from_key(key)], messages, SHORT)
            assert text == alone.text
    assert any(vote.left_answer != vote.right_answer for vote in votes)
    assert {vote.left for vote in votes} == {"base", tuned.key}, "the sides change"
    wins = sum(vote.winner == tuned.key for vote in votes)
    assert blind.last_result() == Result(tuned, BASE, Tally(wins, 6 - wins, 3, 3), now=12)


def test_a_page_does_not_learn_who_wrote_an_answer(blind, tuned, votes_of, wait_until):
    blind.start([BASE, tuned], PROMPTS[:2], SHORT)
    shown = asdict(next_pair(blind, wait_until))
    assert shown.pop("last") is None
    assert set(shown) == {"stage", "number", "total", "ready", "pair", "prompt", "left", "right", "said"}
    assert tuned.run_id not in repr(shown) and "base" not in repr(shown)
    with pytest.raises(BlindError, match="tally"):
        blind.result([BASE, tuned])
    assert blind.last_result() is None
    blind.vote(shown["pair"], "right")
    assert blind.shown().last == votes_of(tuned)[0]


def test_the_sides_are_drawn_by_the_system_s_own_randomness(bench, zeroed, votes_of, wait_until):
    blind = BlindTest(bench.lab, bench.runs)
    blind.start([BASE, zeroed], [f"Say {number}." for number in range(30)], Sampling(max_new_tokens=1))
    vote_all(blind, wait_until, lambda shown: "tie")
    assert {vote.left for vote in votes_of(zeroed)} == {"base", zeroed.key}


def test_a_tuned_model_that_is_the_base_wins_half_and_nothing_is_claimed(blind, zeroed, votes_of, wait_until):
    blind.start([BASE, zeroed], [f"Say {number}." for number in range(40)], SHORT)
    seen = vote_all(blind, wait_until)  # always the left one
    assert len(seen) == 40 and all(shown.left == shown.right for shown in seen)
    found = blind.last_result().tally
    assert found.decided == 40 and 0.35 < found.win_rate < 0.65
    assert found.interval[0] < 0.5 < found.interval[1] and found.p_value > 0.2
    assert found.words.startswith(f"{found.wins} of 40: no ")


def test_votes_are_counted_again_after_a_restart(bench, blind, tuned, votes_of, wait_until):
    blind.start([tuned, BASE], PROMPTS[:3], SHORT)  # the base is never the contender
    vote_all(blind, wait_until)
    again = Workbench(bench.runs_dir)
    after = BlindTest(again.lab, again.runs)
    assert after.shown().stage == "none" and after.last_result() is None
    before = blind.last_result()
    assert before.now == before.tally.decided == 3
    assert after.result([BASE, tuned]) == Result(tuned, BASE, before.tally)


def test_a_few_are_made_ahead_and_the_model_is_free_between(bench, blind, tuned, votes_of, wait_until):
    blind.start([BASE, tuned], PROMPTS, SHORT)
    wait_until(lambda: blind.shown().ready == PAIRS_AHEAD and not bench.busy_with, "pairs ahead")
    (waiting,) = making()
    *_, answers = bench.lab.answer([BASE], [[{"role": "user", "content": "Hi"}]], SHORT)
    assert answers[0].ended and waiting.is_alive() and blind.shown().ready == PAIRS_AHEAD
    blind.vote(blind.shown().pair, "tie")
    assert blind.shown().number == 2
    wait_until(lambda: blind.shown().ready == PAIRS_AHEAD, "one more")


def test_it_waits_for_a_model_that_others_have_and_says_so(bench, blind, tuned, votes_of, wait_until):
    with bench.lab.using([BASE], MEASURING):
        blind.start([BASE, tuned], PROMPTS[:2], SHORT)
        wait_until(lambda: blind.shown().said == f"This must wait: {MEASURING}.", "the sentence")
        assert blind.shown().stage == "writing"
    assert next_pair(blind, wait_until).said == ""


def test_while_it_writes_others_learn_that_it_is_the_blind_test(bench, blind, tuned, votes_of, wait_until):
    said = []
    blind.start([BASE, tuned], PROMPTS, LONG)
    wait_until(lambda: said.append(bench.busy_with) or said[-1], "answers that are written")
    assert said[-1] == BLIND_ANSWERING  # the chat offers to stop its own answers alone


def test_the_same_answers_voted_on_again_count_once(blind, tuned, votes_of, wait_until):
    for _ in range(4):
        blind.start([BASE, tuned], PROMPTS[:3], SHORT)
        vote_all(blind, wait_until, lambda shown: "tie")
    assert len(votes_of(tuned)) == 12 and {vote.sampling for vote in votes_of(tuned)} == {SHORT}
    assert blind.last_result() == Result(tuned, BASE, Tally(ties=3, repeated=9), now=3)


def test_the_small_print_says_what_the_figures_do_not_hold(zeroed):
    optimistic = "Adding votes after you have seen these figures biases them"
    text = result_text(Result(zeroed, BASE, Tally(3, 0, repeated=9)))
    assert optimistic in text
    assert "<li>9 repeated votes are not counted: only the last vote on the same two answers counts.</li>" in text
    text = result_text(Result(zeroed, BASE, Tally(ties=1)))  # there are no figures yet
    assert optimistic not in text and "repeated" not in text


def test_a_pair_is_voted_on_once(blind, tuned, votes_of, wait_until):
    blind.start([BASE, tuned], PROMPTS[:3], SHORT)
    first = next_pair(blind, wait_until).pair
    threads = [threading.Thread(target=blind.vote, args=(first, "left")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(votes_of(tuned)) == 1
    second = next_pair(blind, wait_until).pair
    assert second == first.removesuffix("1") + "2"
    blind.vote(first.removesuffix("1") + "3", "left")  # not shown yet
    blind.vote("", "left")  # by a page that shows none
    assert len(votes_of(tuned)) == 1 and blind.shown().number == 2


def test_the_end_keeps_the_votes_and_stops_the_answers(bench, blind, tuned, votes_of, wait_until):
    blind.start([BASE, tuned], PROMPTS, LONG)
    first = next_pair(blind, wait_until)
    with pytest.raises(BlindError, match="running"):
        blind.start([BASE, tuned], PROMPTS, SHORT)
    blind.vote(first.pair, "left")
    second = next_pair(blind, wait_until)
    blind.end()
    shown = blind.shown()
    assert shown.stage == "ended" and shown.pair == shown.left == shown.right == shown.prompt == ""
    blind.vote(second.pair, "left")
    assert len(votes_of(tuned)) == 1 and blind.last_result().tally.decided == 1
    wait_until(lambda: not making() and not bench.busy_with, "the end of the answers", 20)
    blind.start([BASE, tuned], PROMPTS[:1], SHORT)
    assert next_pair(blind, wait_until).number == 1
    blind.vote(first.pair, "left")  # by a page that still shows the first pair of the test before
    assert blind.shown().stage == "voting" and len(votes_of(tuned)) == 1


def test_answers_stopped_elsewhere_are_not_voted_on(bench, blind, tuned, votes_of, wait_until):
    blind.start([BASE, tuned], PROMPTS, LONG)
    wait_until(lambda: bench.lab.stop() or "The answers were stopped" in blind.shown().said, "the stop")
    whole = vote_all(blind, wait_until)
    assert len(whole) < len(PROMPTS) and blind.shown().stage == "ended"
    assert [vote.prompt for vote in votes_of(tuned)] == [shown.prompt for shown in whole]


def test_a_prompt_that_is_too_long_is_left_out_and_said(blind, tuned, votes_of, wait_until):
    blind.start([BASE, tuned], ["One.", "word " * 300, "Three."], SHORT)
    seen = vote_all(blind, wait_until)
    assert [shown.number for shown in seen] == [1, 3]
    assert blind.shown().said.startswith("1 prompt is left out: The prompt has ")


def test_without_a_model_the_test_ends_and_says_why(bench, tuned, wait_until):
    cold = Workbench(bench.runs_dir)
    blind = BlindTest(cold.lab, cold.runs)
    blind.start([BASE, tuned], PROMPTS[:2], SHORT)
    assert next_pair(blind, wait_until).stage == "ended"
    assert "There is no model to ask" in blind.shown().said
    assert blind.last_result().tally == Tally()


@pytest.fixture
def other_base(bench, stories, rows, tuned, tmp_path):
    """The same weights in another place, which is another base; afterwards the tuned one is loaded again."""
    yield small_config(shutil.copytree(stories, tmp_path / "other"), rows).model
    bench.lab.load_run(tuned.run_id)


def test_another_base_ends_the_test_and_keeps_what_was_done(bench, blind, tuned, other_base, votes_of, wait_until):
    blind.start([BASE, tuned], PROMPTS, SHORT)
    wait_until(lambda: blind.shown().ready == PAIRS_AHEAD and not bench.busy_with, "pairs ahead")
    bench.load_model(other_base)
    blind.vote(blind.shown().pair, "left")
    wait_until(lambda: not making(), "the end of the answers")
    assert f"{tuned.run_id} was trained on another base" in blind.shown().said
    assert blind.shown().stage == "voting" and blind.shown().ready == PAIRS_AHEAD - 1
    vote_all(blind, wait_until)  # those that are whole can still be voted on
    assert [vote.prompt for vote in votes_of(tuned)] == PROMPTS[: PAIRS_AHEAD + 1]
    assert blind.last_result().now == PAIRS_AHEAD + 1 and "left out" not in blind.shown().said


def test_a_vote_that_cannot_be_kept_is_said_and_can_be_given_again(bench, blind, tuned, votes_of, wait_until):
    blind.start([BASE, tuned], PROMPTS[:2], SHORT)
    next_pair(blind, wait_until)
    folder, away = bench.runs_dir / tuned.run_id, bench.runs_dir.parent / "away"
    folder.rename(away)
    try:
        with pytest.raises(BlindError) as told:
            blind.vote(blind.shown().pair, "left")
        assert told.value.values == {"folder": folder, "reason": "No such file or directory"}
        assert blind.shown().number == 1
    finally:
        away.rename(folder)
    blind.vote(blind.shown().pair, "left")
    assert [vote.choice for vote in votes_of(tuned)] == ["left"]


def test_what_cannot_be_tested(blind, tuned):
    with pytest.raises(BlindError, match="same"):
        blind.start([tuned, tuned], PROMPTS)
    with pytest.raises(RunError, match="nowhere"):
        blind.start([BASE, Pane("nowhere")], PROMPTS)
    assert blind.shown().stage == "none"
