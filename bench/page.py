"""What the page costs: a poll of it, fifty open pages while a run is training, and opening it in a browser.

    python -m bench.page                   a folder of 1,000 runs, the newest with 100,000 steps
    python -m bench.page --clients 50      a run of the demo, with and without that many pages
    python -m bench.page --loads 3         the first load in a browser, beside an empty Gradio page

The first builds the folder with the program's own functions, starts the real page on it and polls it as a browser does,
through the route /live. The bars: a poll answers in under 50 ms and with under 100 kB.

The second trains the demo in the real program, in turns with and without clients that each poll as a page does: once a
second, or as seldom as the answer says. The clients are one process, which takes its share of the same cores:
`clients_cores`, which the page itself does not cause. The bars: no error, and under 5% fewer steps per second. It also
prints the program's processor time per step, which other programs on the machine disturb less.

The third opens the page and an empty one in Chromium, in turns and with an empty cache, in the window of a desktop and
on a phone of 390 px. Then it starts a run with the Train tab open, and opens the page anew during the run. The bars: at
most 1.3 times the empty page's time to answer and 2 times its requests and bytes, nothing from other hosts, no console
error, and a layout shift under 0.02 each time.
"""

import asyncio
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click
import psutil

from bench.common import bench_command, free_port, page_command, report, served
from core.runs.events import (
    CheckpointSaved,
    Evaluated,
    MemorySampled,
    Sampled,
    StatusChanged,
    StepDone,
    from_line,
    to_line,
)
from core.runs.run_folder import create_run
from core.settings.presets import find_preset

LONG_RUN = "the long one"


def make_run(runs_dir: Path, name: str, steps: int, memory: int, checks: int, prompts: int = 0) -> None:
    """Writes a completed run: losses that fall and jump about, checks, sample answers, a memory sample per second."""
    config = find_preset("demo-yoda").config
    run = create_run(runs_dir, name, config)
    began = time.time()
    events = [StatusChanged(time=began, status="training")]
    for step in range(1, steps + 1):
        loss = 3 * 0.5 ** (step / steps * 8) + 0.2 + (step * 7919 % 1000) / 5000 + (900 if step % 33_333 == 0 else 0)
        events.append(
            StepDone(
                time=began + step,
                step=step,
                max_steps=steps,
                epoch=step / 100,
                loss=loss,
                learning_rate=1e-4,
                grad_norm=loss / 3,
                tokens=step * 500,
                elapsed=step * 0.3,
            )
        )
        if checks and step % max(steps // checks, 1) == 0:
            events.append(Evaluated(time=began + step, step=step, eval_loss=loss * 1.1))
        if prompts and step % max(steps // 40, 1) == 0:
            answers = tuple(f"Answer {number} of step {step}. " * 20 for number in range(prompts))
            asked = tuple(f"Prompt {number}" for number in range(prompts))
            events.append(Sampled(time=began, step=step, by="tuned", prompts=asked, answers=answers))
    events += (
        MemorySampled(
            time=began + number, used_by_us_gib=2 + number % 97 / 100, in_use_gib=3, total_gib=8, available_gib=5
        )
        for number in range(memory)
    )
    events.append(CheckpointSaved(step=steps, kept=(steps,)))
    events.append(StatusChanged(status="completed", message="Finished."))
    (run.folder / "events.jsonl").write_text("".join(to_line(event) + "\n" for event in events), encoding="utf-8")


@contextmanager
def page(runs_dir: Path) -> Iterator[str]:
    """The address of the real page once it answers."""
    port = free_port()
    with served(page_command(port, runs_dir), port):
        yield f"http://127.0.0.1:{port}"


def poll(connection: http.client.HTTPConnection, seen: str) -> tuple[float, int, dict]:
    """How long the answer took in milliseconds, its size in bytes, and the answer."""
    began = time.perf_counter()
    connection.request("GET", f"/live?seen={seen}")
    body = connection.getresponse().read()
    # Nothing is sent when nothing has changed.
    return (time.perf_counter() - began) * 1000, len(body), json.loads(body) if body else {"seen": seen}


def polls(folder: Path, runs: int, steps: int, seconds: int) -> None:
    began = time.monotonic()
    for number in range(runs - 1):
        make_run(folder, f"run {number}", steps=20, memory=20, checks=2)
    # A memory sample each second at 3.5 steps per second, and a check every 20 steps.
    make_run(folder, LONG_RUN, steps, memory=steps * 288 // 1000, checks=steps // 20, prompts=5)
    print(f"built {runs:,} runs in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    with page(folder) as url:
        report("page, until it answers", seconds=time.monotonic() - began)
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        first = [poll(connection, "") for _ in range(5)]
        if LONG_RUN not in json.dumps(first[0][2]):
            raise SystemExit("The page does not show the long run.")
        later, seen = [], first[-1][2]["seen"]
        for _ in range(seconds):
            time.sleep(1)  # as a browser does
            later.append(poll(connection, seen))
            seen = later[-1][2]["seen"]
        for name, asked in (("first", first), ("later", later)):
            times, sizes = [ms for ms, _, _ in asked], [size for _, size, _ in asked]
            report(
                f"page, {name} polls",
                median_ms=statistics.median(times),
                largest_ms=max(times),
                largest_bytes=max(sizes),
            )


async def _client(host: str, port: int, number: int, wait: float, until: float, times: list[float], errors: list[str]):
    await asyncio.sleep(wait)
    seen = ""
    while time.monotonic() < until:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(host, port)  # the server closes those that wait for five seconds
        writer.write(f"GET /live?seen={seen}&page={number} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        body = await reader.readexactly(length)
        writer.close()
        times.append((time.monotonic() - began) * 1000)
        if head.startswith("http/1.1 200"):
            seen = json.loads(body)["seen"]
        elif not head.startswith("http/1.1 204"):  # nothing has changed
            errors.append(head.partition("\r\n")[0])
        pause = float(head.partition("\r\npause: ")[2].partition("\r\n")[0])
        await asyncio.sleep(max(began + pause - time.monotonic(), 0))


async def crowd(url: str, clients: int, seconds: float) -> tuple[list[float], list[str]]:
    """The milliseconds of all polls, and what went wrong."""
    parts, until = urlsplit(url), time.monotonic() + seconds
    times: list[float] = []
    errors: list[str] = []
    # Real pages are not all opened at the same moment.
    asked = (_client(parts.hostname, parts.port, n, n / clients, until, times, errors) for n in range(clients))
    ends = await asyncio.gather(*asked, return_exceptions=True)
    return times, errors + [repr(end) for end in ends if end is not None]


class Turn(NamedTuple):
    """A stretch of training, with or without clients."""

    began: float
    ended: float
    processor_seconds: float  # of the program
    clients_seconds: float  # the processor time of the clients

    def steps(self, done: list[float]) -> int:
        """How many of the steps, by the times when they were done, fall into this turn."""
        return sum(self.began <= at < self.ended for at in done)


def contention(folder: Path, clients: int, rounds: int, seconds: float, warm_up_steps: int) -> None:
    from gradio_client import Client

    with page(folder) as url:
        client = Client(url, verbose=False)
        settings = ["training.max_steps=1000000", "training.eval_steps=0", "training.save_steps=0"]
        run = Path(client.predict(settings=settings, api_name="/start")["run_dir"])
        while len(_step_times(run)) < warm_up_steps:
            time.sleep(0.2)
        process = psutil.Process(json.loads((run / "run.json").read_text(encoding="utf-8"))["pid"])
        turns: dict[bool, list[Turn]] = {True: [], False: []}
        times, errors = [], []
        for number in range(2 * rounds + 1):  # each turn with clients is between two without
            with_clients = number % 2 == 1
            began, busy, own = time.time(), _processor_seconds(process), time.process_time()
            if with_clients:
                found = asyncio.run(crowd(url, clients, seconds))
                times += found[0]
                errors += found[1]
            else:
                time.sleep(seconds)
            spent = _processor_seconds(process) - busy, time.process_time() - own
            turns[with_clients].append(Turn(began, time.time(), *spent))
        done = _step_times(run)
        client.predict(api_name="/stop")
    figures = {"clients": clients, "polls": len(times), "errors": len(errors)}
    figures |= {"median_ms": statistics.median(times), "largest_ms": max(times)}
    report("page, while it trains", **figures, **slowdown(turns, done))
    print(*errors[:5], sep="\n")


def slowdown(turns: dict[bool, list[Turn]], done: list[float]) -> dict[str, float | None]:
    """Steps per second and processor time per step with and without clients; `done` is when each step was done."""
    pace, cost = {}, {}
    for with_clients, of_kind in turns.items():
        steps = [turn.steps(done) for turn in of_kind]
        pace[with_clients] = [count / (turn.ended - turn.began) for count, turn in zip(steps, of_kind, strict=True)]
        cost[with_clients] = sum(turn.processor_seconds for turn in of_kind) / max(sum(steps), 1)
    around = [(before + after) / 2 for before, after in pairwise(pace[False])]
    ratios = [busy / calm for busy, calm in zip(pace[True], around, strict=True)]
    asking = sum(turn.clients_seconds for turn in turns[True]) / sum(turn.ended - turn.began for turn in turns[True])
    return {
        "steps_per_s": statistics.median(pace[False]),
        "steps_per_s_with_clients": statistics.median(pace[True]),
        "ratio": statistics.mean(pace[True]) / statistics.mean(pace[False]),
        "ratio_of_turns_median": statistics.median(ratios),
        "ratio_of_turns_error": statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else None,
        "processor_s_per_step": cost[False],
        "processor_s_per_step_with_clients": cost[True],
        "clients_cores": asking,
    }


def _processor_seconds(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return spent.user + spent.system


def _step_times(run: Path) -> list[float]:
    """When each step was done, in seconds since 1970."""
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [event for event in map(from_line, lines) if event is not None]
    if failed := [event for event in events if isinstance(event, StatusChanged) and event.status == "failed"]:
        raise SystemExit(f"The run failed: {failed[-1].message}")
    return [event.time for event in events if isinstance(event, StepDone)]


@bench_command(__doc__)
@click.option("--clients", default=0, help="Pages that poll while a run trains; 0 polls the folder of runs instead.")
@click.option("--loads", default=0, help="How often to open the page in a browser; 0 measures polls instead.")
@click.option("--rounds", type=click.IntRange(1), default=6, show_default=True, help="Number of turns with clients.")
@click.option(
    "--seconds",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Length of a turn, or of all polls together.",
)
@click.option("--runs", type=click.IntRange(1), default=1000, show_default=True, help="Runs in the folder.")
@click.option("--steps", type=click.IntRange(1), default=100_000, show_default=True, help="Steps in the newest run.")
@click.option("--warm-up-steps", default=50, show_default=True, help="Steps before the first turn with clients.")
def main(clients: int, loads: int, rounds: int, seconds: int, runs: int, steps: int, warm_up_steps: int) -> None:
    if loads:
        from bench.page_load import measure  # needs a browser

        return measure(loads, warm_up_steps)
    with tempfile.TemporaryDirectory() as folder:
        if clients:
            contention(Path(folder), clients, rounds, seconds, warm_up_steps)
        else:
            polls(Path(folder), runs, steps, seconds)


if __name__ == "__main__":
    main()
