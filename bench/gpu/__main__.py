"""Measures speed and memory on this machine's card, continues where it left off, and records the figures.

    python -m bench.gpu                                      everything, into bench/gpu/measured.json
    python -m bench.gpu --only speed,pair --shapes 1b,8b     a part of it
    python -m bench.gpu --write                              bench/GPU.md from the record, without measuring

Each measurement is a process of its own with a time limit, so one that fails or runs out of memory does not affect the
others. What is in the record is not measured again, so you can simply repeat a command that ended early.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.common import PROJECT
from bench.gpu import llama
from bench.gpu.plan import KINDS, REAL_SHAPES, SHAPES, Measurement, measurements
from bench.gpu.report import render

RECORD = PROJECT / "bench" / "gpu" / "measured.json"
REPORT = PROJECT / "bench" / "GPU.md"
MAKING_LIMIT_S = 240  # for a model's weights
LEAST_TIME_LEFT_S = 20  # nothing is started with less time left


class Session:
    """The record on disk, and the time that is left."""

    def __init__(self, record: Path, seconds: float):
        self.record = record
        self.results: dict[str, dict] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()

    @property
    def seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def is_to_do(self, one: Measurement, again: bool) -> bool:
        return one.name not in self.results or (again and "error" in self.results[one.name])

    def keep(self, name: str, result: dict) -> None:
        with self._lock:
            self.results[name] = result
            self.record.parent.mkdir(parents=True, exist_ok=True)
            aside = self.record.with_suffix(".new")  # so that being killed now does not lose the record
            aside.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
            aside.replace(self.record)


def main(argv: list[str] | None = None) -> int:
    """Returns 0 when everything is measured, 1 when some of it failed, 3 when time ran out: repeat the same command."""
    options = _parser().parse_args(argv)
    if options.write:
        results = Session(options.out, 0).results
        REPORT.write_text(render(results), encoding="utf-8")
        return 0
    session = Session(options.out, options.seconds)
    wanted = measurements(options.shapes, options.only)
    for kind in KINDS:
        of_kind = [one for one in wanted if one.kind == kind and session.is_to_do(one, options.again)]
        for shape in dict.fromkeys(one.shape for one in of_kind if one.shape):
            _make(shape, session)
        with ThreadPoolExecutor(options.side_by_side if kind == "memory" else 1) as pool:
            for _ in pool.map(lambda one: _measure(one, session), of_kind):
                pass
    left = [one.name for one in wanted if one.name not in session.results]
    failed = [one.name for one in wanted if "error" in session.results.get(one.name, {})]
    print(f"{len(wanted) - len(left)} of {len(wanted)} measured" + (f", failed: {', '.join(failed)}" if failed else ""))
    if left:
        print("Time ran out before everything was measured. Run the same command again to continue.")
    return 3 if left else 1 if failed else 0


def _make(shape: str, session: Session) -> None:
    """Makes the weights unless they exist; this does not count towards a measurement's time."""
    if not (PROJECT / llama.model_of(shape)).exists() and session.seconds_left > LEAST_TIME_LEFT_S:
        command = ["-m", "bench.gpu.measure", "make", json.dumps({"shape": shape})]
        _run(command, f"make {shape}", MAKING_LIMIT_S, session)


def _measure(one: Measurement, session: Session) -> None:
    if session.seconds_left < LEAST_TIME_LEFT_S:
        return
    command = ["-m", "bench.gpu.measure", one.kind, json.dumps(one.arguments)]
    result = _run(command, one.name, one.limit_s, session)
    if result is not None:
        session.keep(one.name, result | {"arguments": one.arguments, "command": f"python {' '.join(command)}"})


def _run(command: list[str], name: str, limit_s: float, session: Session) -> dict | None:
    """The result, or {"error": …}; None when the time for all measurements ran out before its own limit."""
    limit = min(limit_s, session.seconds_left)
    log = PROJECT / llama.WORK / "logs" / f"{name.replace(' ', '-')}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as out:
        # To a file, not a pipe: a compiler's helper process would keep a pipe open after the end.
        try:
            done = subprocess.run(
                [sys.executable, *command], cwd=PROJECT, stdout=out, stderr=subprocess.STDOUT, timeout=limit
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            if limit < limit_s:
                return None
            code = None
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
    found = [line for line in lines if line.startswith('{"')]  # libraries may print more as the process exits
    result = json.loads(found[-1]) if found else {}
    if code is None:
        result["error"] = f"took longer than {limit_s} s"
    elif found:
        result["seconds"] = round(time.monotonic() - began, 1)
    else:
        result["error"] = lines[-1][:300]
    shown = {key: value for key, value in result.items() if isinstance(value, int | float | str)}
    print(f"{name}: {shown}", flush=True)
    return result


def _parser() -> argparse.ArgumentParser:
    def named(known):
        def split(text: str) -> list[str]:
            names = text.split(",")
            if unknown := [name for name in names if name not in known]:
                raise argparse.ArgumentTypeError(f"unknown name {unknown[0]!r}; choose from {', '.join(known)}")
            return names

        return split

    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--shapes",
        type=named(SHAPES),
        default=REAL_SHAPES,
        help="which of 1b, 3b and 8b to measure; or tiny, to try everything without a card",
    )
    add("--only", type=named(KINDS), default=list(KINDS), help=f"which of {', '.join(KINDS)} to measure")
    add("--out", type=Path, default=RECORD, help="the JSON file with the record")
    add("--seconds", type=float, default=86400, help="time limit in seconds; the next call continues")
    add("--side-by-side", type=int, default=1, help="memory measurements to run at once, if the card has room")
    add("--again", action="store_true", help="also repeat measurements that failed before")
    add("--write", action="store_true", help="write bench/GPU.md from the record, without measuring")
    return parser


if __name__ == "__main__":
    sys.exit(main())
