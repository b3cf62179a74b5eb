"""Votes on disk, and what you can conclude from them: figures compared with scipy's and with known ones."""

import errno
import math
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError
from scipy.stats import binom, binomtest

from core.answering.sampling import Sampling
from core.comparing.votes import VOTES_FILE, Tally, Vote, append_vote, read_votes, tally
from tests.conftest import PROJECT

RUN, OTHER = "20260101-000000-a", "20260102-000000-b"


def vote(choice: str = "left", left: str = RUN, right: str = "base", contender: str = RUN, **values) -> Vote:
    told = {"prompt": "Why?", "left_answer": "So.", "right_answer": "No.", "time": 5.0} | values
    return Vote(left=left, right=right, choice=choice, contender=contender, **told)


def test_votes_survive_a_restart(tmp_path):
    sampling = Sampling(temperature=0.7, seed=3)
    votes = [
        vote("left", sampling=sampling),
        vote("tie", prompt="Two\nlines\u2028 “and” more 猫"),
        vote("bad", left="base", right=RUN),
    ]
    for each in votes:
        append_vote(tmp_path, each)
    code = (
        "from core.comparing.votes import read_votes; from pathlib import Path; "
        f"print(repr(read_votes(Path({str(tmp_path)!r}))))"
    )
    another = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert another.stdout.strip() == repr(read_votes(tmp_path))
    assert read_votes(tmp_path) == (tuple(votes), 0)
    assert (tmp_path / VOTES_FILE).read_bytes().count(b"\n") == 3


def test_no_file_is_no_vote(tmp_path):
    assert read_votes(tmp_path) == ((), 0)


def test_a_line_that_was_cut_off_is_counted_and_harms_no_other(tmp_path):
    append_vote(tmp_path, vote("left"))
    append_vote(tmp_path, vote("right"))
    file = tmp_path / VOTES_FILE
    file.write_bytes(file.read_bytes()[:-30] if file.read_bytes().endswith(b"\n") else b"")
    append_vote(tmp_path, vote("tie"))
    assert read_votes(tmp_path) == ((vote("left"), vote("tie")), 1)
    file.write_bytes(b'\xff\xfe\n{"choice": "left"}\n' + file.read_bytes())
    assert read_votes(tmp_path) == ((vote("left"), vote("tie")), 3)


def test_a_full_disk_leaves_no_half_vote(tmp_path):
    append_vote(tmp_path, vote())
    before = (tmp_path / VOTES_FILE).read_bytes()
    limit = len(before) + 20
    code = (
        "import resource, signal; from pathlib import Path; from core.comparing.votes import append_vote, read_votes\n"
        f"(vote,), _ = read_votes(Path({str(tmp_path)!r}))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"try: append_vote(Path({str(tmp_path)!r}), vote)\n"
        "except OSError as error: print(error.errno)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert answer.stdout == f"{errno.ENOSPC}\n"
    assert (tmp_path / VOTES_FILE).read_bytes() == before


def test_a_vote_that_the_disk_does_not_take_is_not_there(tmp_path, monkeypatch):
    append_vote(tmp_path, vote("left"))
    before = (tmp_path / VOTES_FILE).read_bytes()

    def refuse(descriptor: int) -> None:  # as a disk that fails does; there is none to be had
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            append_vote(tmp_path, vote("right"))
    assert (tmp_path / VOTES_FILE).read_bytes() == before
    append_vote(tmp_path, vote("right"))
    assert read_votes(tmp_path) == ((vote("left"), vote("right")), 0)


def test_lines_of_earlier_versions_are_votes_too(tmp_path):
    line = (
        '{"time":5.0,"prompt":"Why?","left":"20260101-000000-a","right":"base","left_answer":"So.",'
        '"right_answer":"No.","choice":"tie","contender":"20260101-000000-a"}\n'
    )
    (tmp_path / VOTES_FILE).write_text(line)
    assert read_votes(tmp_path) == ((vote("tie", sampling=None),), 0)


def test_a_folder_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        append_vote(tmp_path / "gone", vote())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_in_the_place_of_the_votes_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / VOTES_FILE)
    assert read_votes(tmp_path) == ((), 0)


@pytest.mark.parametrize("wrong", [{"choice": "up"}, {"contender": OTHER}, {"right": RUN}, {"time": -1.0}])
def test_what_is_no_vote(wrong):
    with pytest.raises(ValidationError):
        vote(**wrong)


def test_the_tally_is_of_one_pair_on_either_side():
    step = f"{RUN}/checkpoints/step-4"
    votes = [
        vote("left"),
        vote("right", left="base", right=RUN),
        vote("right"),
        vote("left", left="base", right=RUN),
        vote("right"),
        vote("tie"),
        vote("bad", left="base", right=RUN),
        vote("left", right=OTHER),
        vote("left", left=OTHER, contender=OTHER),
        vote("left", left=step, contender=step),
    ]
    votes = [each.model_copy(update={"prompt": f"Why {number}?"}) for number, each in enumerate(votes)]
    assert tally(votes, RUN, "base") == Tally(wins=2, losses=3, ties=1, bad=1)
    assert tally(votes, RUN, OTHER) == Tally(wins=1)
    assert tally(votes, OTHER, "base") == Tally(wins=1)
    assert tally(votes, OTHER, RUN) == Tally()


def test_of_votes_on_the_same_two_answers_only_the_last_counts():
    three = [vote("left", prompt=f"Why {number}?") for number in range(3)]
    # The same answers with the sides changed, as a second test at exact settings brings them.
    again = [vote("right", "base", RUN, prompt=each.prompt, left_answer="No.", right_answer="So.") for each in three]
    assert tally(three + again + three + again, RUN, "base") == Tally(wins=3, repeated=9)
    assert tally([*three, vote("tie", prompt="Why 0?")], RUN, "base") == Tally(wins=2, ties=1, repeated=1)
    others = [vote(left_answer="Else."), vote(right_answer="Else."), vote(left_answer="No.", right_answer="So.")]
    assert tally([vote(), *others], RUN, "base") == Tally(wins=4)


@pytest.mark.parametrize("wins", [0, 1, 12, 13, 17, 20, 25])
def test_rate_interval_and_p_are_scipy_s(wins):
    found, by_scipy = Tally(wins, 25 - wins, ties=3, bad=2), binomtest(wins, 25)
    assert found.win_rate == wins / 25
    assert found.p_value == by_scipy.pvalue
    assert found.interval == tuple(by_scipy.proportion_ci(0.95, method="wilson"))


def test_figures_that_are_known():
    found = Tally(17, 8)
    assert found.p_value == pytest.approx(2 * sum(math.comb(25, k) for k in range(17, 26)) / 2**25, rel=1e-12)
    assert round(found.p_value, 4) == 0.1078
    z, n, p = 1.959963984540054, 25, 0.68  # Wilson's formula
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert found.interval == pytest.approx(
        ((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)), rel=1e-9
    )
    assert Tally(6, 0).p_value == 0.03125


def test_without_decided_votes_there_are_no_figures():
    found = Tally(ties=4, bad=1)
    assert (found.win_rate, found.interval, found.p_value, found.more, found.votes) == (None, None, None, None, 5)


@pytest.mark.parametrize("wins, losses", [(17, 8), (8, 17), (8, 2), (3, 1), (6, 0), (20, 5)])
def test_more_is_the_smallest_number_that_settles_it_in_four_cases_out_of_five(wins, losses):
    found, decided, leading = Tally(wins, losses), wins + losses, max(wins, losses)

    def chance(more: int) -> float:
        """By counting all that the further votes may come to."""
        rate = leading / decided
        settled = (
            k
            for k in range(more + 1)
            if leading + k > (decided + more) / 2 and binomtest(leading + k, decided + more).pvalue < 0.05
        )
        return sum(math.comb(more, k) * rate**k * (1 - rate) ** (more - k) for k in settled)

    def would_do(more: int) -> bool:
        return decided + more >= 10 and chance(more) >= 0.8

    assert would_do(found.more) and not any(would_do(more) for more in range(max(found.more - 20, 0), found.more))


# Wins, losses, ties, both bad; and the words that must be in the sentence.
CONCLUSIONS = {
    (0, 0, 0, 0): ["No votes"],
    (0, 0, 1, 0): ["no side"],
    (0, 0, 2, 1): ["None of the 3"],
    (1, 0, 0, 0): ["1 of 1: too few", "at least 9 more that choose a side are needed"],
    (9, 0, 5, 5): ["9 of 9: too few", "at least 1 more that chooses a side is needed"],
    (3, 3, 0, 0): ["3 of 6: too few", "at least 4 more that choose a side are needed"],
    (10, 0, 0, 0): ["10 of 10: better."],
    (20, 5, 0, 0): ["20 of 25: better."],
    (5, 20, 0, 0): ["5 of 25: worse."],
    (17, 8, 2, 1): ["17 of 25: probably better; about 26 more votes"],
    (8, 17, 0, 0): ["8 of 25: probably worse; about 26 more votes"],
    (193, 167, 0, 0): ["193 of 360: probably better", "more than 1,000 further votes"],
    (265, 235, 0, 0): ["265 of 500: probably better", "more than 1,000 further votes"],
    (235, 265, 9, 9): ["235 of 500: probably worse", "more than 1,000 further votes"],
    (14, 11, 0, 0): ["14 of 25: no clear difference", "about 518 more votes"],
    (13, 12, 0, 0): ["13 of 25: no visible difference."],
    (500, 500, 0, 0): ["500 of 1,000: no visible difference."],
}


@pytest.mark.parametrize("counts", CONCLUSIONS)
def test_what_so_many_votes_say(counts):
    words = Tally(*counts).words
    assert [part for part in CONCLUSIONS[counts] if part not in words] == [], words


def test_no_sentence_asks_for_0_more_votes():
    for decided in range(10, 600):
        almost_settled = int(binom.ppf(0.975, decided, 0.5))  # one more win would settle it
        shares = (0.5, 0.53, 0.54, 0.56) if decided % 10 == 0 else ()
        for wins in (almost_settled, *(int(decided * share) for share in shares)):
            assert " 0 more" not in Tally(wins, decided - wins).words, (wins, decided)


def test_few_votes_never_claim_anything():
    for decided in range(10):
        for wins in range(decided + 1):
            words = Tally(wins, decided - wins).words
            assert "better" not in words and "worse" not in words


def test_scipy_is_not_imported_before_it_is_needed():
    check = (
        "import sys, core.comparing.votes, core.workbench.blind_test, ui.compare.blind_tab; "
        "print('scipy.stats' in sys.modules, 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", check], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert answer.stdout == "False False\n"
