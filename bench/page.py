"""What a poll of the page costs, and what fifty pages cost a run that trains.

    python -m bench.page                   a folder of 1,000 runs, the newest of 100,000 steps
    python -m bench.page --clients 50      a run of the demo, with and without that many pages

The first builds the folder with the program's own functions, starts the real page on it and asks as a browser does,
by the route /live. The bars: a poll answers in under 50 ms and with under 100 kB.

The second trains the demo in the real program, in turns with and without clients that each ask once a second. They are
one process, which takes its share of the same cores. The bars: no error, and under 5% fewer steps a second. Beside that
stands the processor time of the program per step, which other programs on the machine disturb less.
"""

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click
import psutil

from bench.common import PROJECT, free_port, report
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

STEPS, MEMORY, CHECKS, RUNS = 100_000, 28_800, 5_000, 1_000


def make_run(runs_dir: Path, name: str, steps: int, memory: int, checks: int, prompts: int = 0) -> None:
    """A completed run's folder: losses that fall and jump about, checks, samples, a memory sample a second."""
    config = find_preset("demo-yoda").config
    run = create_run(runs_dir, name, config)
    began = time.time()
    events = [StatusChanged(time=began, status="training")]
    for step in range(1, steps + 1):
        loss = 3 * 0.5 ** (step / steps * 8) + 0.2 + (step * 7919 % 1000) / 5000 + (900 if step % 33_333 == 0 else 0)
        events.append(
            StepDone(time=began + step, step=step, max_steps=steps, epoch=step / 100, loss=loss, learning_rate=1e-4,
                     grad_norm=loss / 3, tokens=step * 500, elapsed=step * 0.3)
        )  # fmt: skip
        if checks and step % (steps // checks) == 0:
            events.append(Evaluated(time=began + step, step=step, eval_loss=loss * 1.1))
        if prompts and step % (steps // 40) == 0:
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
def page(runs_dir: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The real page once it answers: its address and its process."""
    port = free_port()
    command = [sys.executable, "app.py", "--no-browser", "--port", str(port), "--runs-dir", str(runs_dir)]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(url, timeout=30).close()
                break
            except OSError:
                time.sleep(0.02)
        else:
            raise RuntimeError(f"the page ended with code {process.returncode} before it answered")
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def poll(connection: http.client.HTTPConnection, seen: str) -> tuple[float, int, dict]:
    """Milliseconds, bytes and what was told."""
    began = time.perf_counter()
    connection.request("GET", f"/live?seen={seen}")
    body = connection.getresponse().read()
    return (time.perf_counter() - began) * 1000, len(body), json.loads(body)


def polls(folder: Path, seconds: int) -> None:
    began = time.monotonic()
    for number in range(RUNS - 1):
        make_run(folder, f"run {number}", steps=20, memory=20, checks=2)
    make_run(folder, "the long one", STEPS, MEMORY, CHECKS, prompts=5)
    print(f"built {RUNS:,} runs in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    with page(folder) as (url, _):
        report("page, until it answers", seconds=time.monotonic() - began)
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        first = [poll(connection, "") for _ in range(5)]
        assert "the long one" in json.dumps(first[0][2]), "the long run is shown"
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


async def _client(host: str, port: int, wait: float, until: float, times: list[float], errors: list[str]) -> None:
    await asyncio.sleep(wait)
    seen = ""
    reader, writer = await asyncio.open_connection(host, port)
    while time.monotonic() < until:
        began = time.monotonic()
        writer.write(f"GET /live?seen={seen} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = await reader.readexactly(length)
        times.append((time.monotonic() - began) * 1000)
        if not head.startswith("http/1.1 200"):
            errors.append(head.partition("\r\n")[0])
        else:
            seen = json.loads(body)["seen"]
        await asyncio.sleep(max(began + 1 - time.monotonic(), 0))
    writer.close()


async def crowd(url: str, clients: int, seconds: float) -> tuple[list[float], list[str]]:
    """Milliseconds of all polls, and what went wrong."""
    parts, until = urlsplit(url), time.monotonic() + seconds
    times: list[float] = []
    errors: list[str] = []
    # Pages are not opened all at the same moment.
    asked = (_client(parts.hostname, parts.port, n / clients, until, times, errors) for n in range(clients))
    ends = await asyncio.gather(*asked, return_exceptions=True)
    return times, errors + [repr(end) for end in ends if end is not None]


def contention(folder: Path, clients: int, rounds: int, seconds: float) -> None:
    from gradio_client import Client

    with page(folder) as (url, process):
        client = Client(url, verbose=False)
        settings = ["training.max_steps=1000000", "training.eval_steps=0", "training.save_steps=0"]
        run = Path(client.predict(settings=settings, api_name="/start")["run_dir"])
        while not any(isinstance(event, StepDone) and event.step >= 50 for event in _events(run)):
            time.sleep(1)
        spells: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
        times, errors = [], []
        for number in range(2 * rounds + 1):  # each turn with clients stands between two without
            with_clients = number % 2 == 1
            began, busy = time.time(), _processor_seconds(process)
            if with_clients:
                found = asyncio.run(crowd(url, clients, seconds))
                times += found[0]
                errors += found[1]
            else:
                time.sleep(seconds)
            spells[with_clients].append((began, time.time(), _processor_seconds(process) - busy))
        done = [event.time for event in _events(run) if isinstance(event, StepDone)]
        pace, cost = {}, {}
        for kind, turns in spells.items():
            steps = [sum(began <= at < ended for at in done) for began, ended, _ in turns]
            pace[kind] = [number / (ended - began) for number, (began, ended, _) in zip(steps, turns, strict=True)]
            cost[kind] = sum(busy for *_, busy in turns) / sum(steps)
        ratios = [2 * a / (b + c) for a, b, c in zip(pace[True], pace[False], pace[False][1:], strict=False)]
        report(
            "page, while it trains",
            clients=clients,
            polls=len(times),
            errors=len(errors),
            median_ms=statistics.median(times),
            largest_ms=max(times),
            steps_per_s=statistics.median(pace[False]),
            steps_per_s_with_clients=statistics.median(pace[True]),
            ratio=statistics.mean(pace[True]) / statistics.mean(pace[False]),
            ratio_of_turns_median=statistics.median(ratios),
            ratio_of_turns_error=statistics.stdev(ratios) / len(ratios) ** 0.5,
            processor_s_per_step=cost[False],
            processor_s_per_step_with_clients=cost[True],
        )
        print(*errors[:5], sep="\n")
        client.predict(api_name="/stop")


def _processor_seconds(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return spent.user + spent.system


def _events(run: Path) -> list:
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(from_line, lines) if event is not None]


@click.command(help=__doc__)
@click.option("--clients", default=0, help="Pages that look on while a run trains; 0: the folder of runs instead.")
@click.option("--rounds", default=6, show_default=True, help="Turns with clients, and as many without.")
@click.option("--seconds", default=20, show_default=True, help="Of a turn, or of polls.")
def main(clients: int, rounds: int, seconds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if clients:
            contention(Path(folder), clients, rounds, seconds)
        else:
            polls(Path(folder), seconds)


if __name__ == "__main__":
    main()
