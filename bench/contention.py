"""What other programs on the same cores cost a run on a CPU, with the number of threads that is chosen by trying.

    python -m bench.contention [ROUNDS]

Each round trains the demo three times, each time in a process of its own: with all threads for every step, with the
number that is chosen by trying, and so again beside as many busy programs as there are cores. The bars: the choice
takes at most 1.05 times as long as all threads, a run beside busy programs at most 3 times as long as the same run
without, and all adapters are equal bit for bit. The time is that of the steps, without loading and without checks.

The first two compare only on a machine that does nothing else: `load` is its load before the round, as `uptime` has it.
"""

import hashlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
import psutil

from bench.common import bench_command, median_ratio, report, rounds_argument
from bench.overhead import last_lines
from core.memory.container import usable_cores

STEPS_ALONE = (
    "training.eval_steps=0",
    "training.save_steps=0",
    "training.sample_prompts=[]",
    "data.validation_share=0",
)
RUN = """
import sys
from core.model.cpu_threads import ThreadTrials
if sys.argv.pop(1) == "all":
    ThreadTrials.next = ThreadTrials.kept = property(lambda trials: trials._counts[0])
import app
sys.exit(app.main())
"""
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with the bench in any case


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """As many programs that compute without a pause, until the block ends."""
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.terminate()
            program.wait()


def train(threads: str, folder: str, steps: int) -> tuple[float, str]:
    """The seconds of a training of the demo with "all" threads or a "chosen" number, and its adapter's fingerprint."""
    chosen = [word for setting in (f"training.max_steps={steps}", *STEPS_ALONE) for word in ("--set", setting)]
    command = ["train", "demo-yoda", *chosen, "--runs-dir", folder, "--json"]
    run = last_lines([sys.executable, "-c", RUN, threads, *command])[-1]
    adapter = Path(run["run_dir"]) / "adapter" / "adapter_model.safetensors"
    return run["runtime_s"], hashlib.sha256(adapter.read_bytes()).hexdigest()


@bench_command(__doc__)
@rounds_argument(5)
@click.option("--steps", type=click.IntRange(1), default=160, show_default=True, help="Optimizer steps in each run.")
def main(rounds: int, steps: int) -> None:
    seconds: dict[str, list[float]] = {"all": [], "chosen": [], "busy": []}
    adapters, loads, cores = set(), [], usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            loads.append(psutil.getloadavg()[0])
            for name in list(seconds)[:: -1 if number % 2 else 1]:  # in turns, so that neither is always the first
                with busy_programs(cores) if name == "busy" else nullcontext():
                    took, adapter = train("all" if name == "all" else "chosen", folder, steps)
                seconds[name].append(took)
                adapters.add(adapter)
    report(
        "contention",
        cores=cores,
        load=statistics.median(loads),
        all_threads_s=statistics.median(seconds["all"]),
        chosen_s=statistics.median(seconds["chosen"]),
        idle_ratio=median_ratio(seconds["chosen"], seconds["all"]),
        beside_busy_programs_s=statistics.median(seconds["busy"]),
        busy_ratio=median_ratio(seconds["busy"], seconds["chosen"]),
        same_adapter=len(adapters) == 1,
    )


if __name__ == "__main__":
    main()
