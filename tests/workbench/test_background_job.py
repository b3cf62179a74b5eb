"""Background jobs: work ends once, whatever ends it; what it kept open is closed; no error keeps its frames."""

import gc
import threading
import weakref
from contextlib import ExitStack

import pytest

from core.problems import DataError, TrainingError
from core.threads import Stopped, leave_if
from core.workbench.background_job import BackgroundJob, Outcome, as_problem, attempt
from core.workbench.desk import Desk


def failed(reason: str) -> TrainingError:
    return TrainingError("It failed: {reason}.", reason=reason)


class Model:
    """Something large that the frames of an error would keep."""


def fails_with_a_model(seen: list) -> None:
    model = Model()
    seen.append(weakref.ref(model))
    try:
        raise OSError("a library's own")
    except OSError as error:
        raise RuntimeError("no room.\nmore lines") from error


def test_a_result_a_stop_and_a_problem_come_out_as_they_are():
    assert attempt(lambda: 5, failed) == Outcome(result=5)

    def stops() -> None:
        leave_if(lambda: True)

    stopped = attempt(stops, failed)
    assert (stopped.was_stopped, stopped.problem, stopped.is_unexpected) == (True, None, False)
    with pytest.raises(Stopped):
        stopped.unwrap()
    problem = DataError("{file} has no rows.", file="a.csv")

    def refuses() -> None:
        raise problem

    refused = attempt(refuses, failed)
    assert refused.problem is problem and not refused.is_unexpected and "refuses" in refused.trace
    with pytest.raises(DataError) as told:
        refused.unwrap()
    assert told.value is problem


def test_a_library_s_error_becomes_a_problem_and_its_trace_can_be_printed(capsys):
    outcome = attempt(lambda: fails_with_a_model([]), failed)
    assert type(outcome.problem) is TrainingError and outcome.problem.values == {"reason": "no room"}
    assert outcome.is_unexpected and "a library's own" in outcome.trace and "fails_with_a_model" in outcome.trace
    outcome.print_unexpected()
    assert capsys.readouterr().err == outcome.trace + "\n"
    Outcome(problem=DataError("No rows."), trace="hidden").print_unexpected()
    assert capsys.readouterr() == ("", "")


def test_a_library_that_wants_to_end_the_program_only_ends_the_work():
    def leaves() -> None:
        raise SystemExit("no such option")

    assert attempt(leaves, failed).problem.values == {"reason": "no such option"}


def test_nothing_of_an_error_keeps_the_model():
    seen: list = []
    outcome = attempt(lambda: fails_with_a_model(seen), failed)
    gc.collect()
    assert outcome.problem is not None and seen[0]() is None
    error = DataError("No rows.")
    error.__cause__ = error.__context__ = OSError()
    assert as_problem(error, failed) is error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


@pytest.mark.parametrize("kind", [RuntimeError, DataError], ids=["library", "problem"])
def test_the_token_is_hidden_wherever_it_appears(kind):
    def refused() -> None:
        raise kind("401 for hf_secret")

    outcome = attempt(refused, failed, token="hf_secret")
    assert "401 for …" in str(outcome.problem) and "401 for …" in outcome.trace
    assert "hf_secret" not in f"{outcome} {outcome.problem!r} {outcome.problem.args} {outcome.problem.template}"


def test_work_ends_once_and_frees_what_it_held(wait_until):
    desk, outcomes = Desk(), []
    job = BackgroundJob("testing", "new", failed)
    go_on = threading.Event()

    def work() -> str:
        job.state = "at work"
        go_on.wait(30)
        return "done"

    with ExitStack() as held:
        held.enter_context(desk.taken("a test is running"))
        job.start(work, lambda outcome: outcomes.append((outcome.result, desk.doing)), until_then=held)
    wait_until(lambda: job.state == "at work", "the work")
    assert desk.doing == "a test is running" and outcomes == []
    assert job.wait(0.01) == "at work"
    go_on.set()
    assert job.wait(30) == "at work"
    assert outcomes == [("done", "a test is running")] and desk.doing == ""


def test_stop_wakes_work_that_waits():
    job, outcomes = BackgroundJob("testing", 0, failed), []

    def work() -> None:
        job.wait_for(lambda state: state > 5)
        leave_if(job.should_stop)

    job.start(work, outcomes.append)
    job.stop()
    job.wait(30)
    assert outcomes[0].was_stopped
    job.start(work, outcomes.append)  # the stop was meant for the work before
    job.state = 5
    assert not job.should_stop()
    job.state = 6
    job.wait(30)
    assert outcomes[1] == Outcome()


def test_work_that_someone_waits_for_runs_in_a_thread_of_its_own():
    job = BackgroundJob("testing", None, failed)
    outcome = job.run(threading.get_ident)
    assert outcome.unwrap() != threading.get_ident()
    assert job.run(lambda: fails_with_a_model([])).problem.values == {"reason": "no room"}
