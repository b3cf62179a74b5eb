"""Many runs of the demo one after the other in one program, with comparisons between them: does anything grow?

    python -m bench.soak [RUNS] [--steps N]    30 full runs by default, about a quarter of an hour on two idle cores

After each run, base and tuned answer a question; then the run before it is loaded again and asked, too. After each run
it prints resident memory, threads, open files, and files left in the temporary folders; at the end it compares the last
run with the third.
"""

import gc
import tempfile
import threading
from pathlib import Path

import click
import psutil

from bench.common import bench_command, report
from core.answering.sampling import Sampling
from core.runs.run_folder import list_runs
from core.settings.presets import find_preset
from core.settings.run_config import RunConfig
from core.workbench.workbench import Workbench


def temporary_files(*folders: Path) -> int:
    return sum(1 for folder in folders if folder.is_dir() for _ in folder.iterdir())


def measure(*folders: Path) -> dict[str, int]:
    gc.collect()
    process = psutil.Process()
    return {
        "MiB": process.memory_info().rss // 2**20,
        "threads": threading.active_count(),
        "system_threads": process.num_threads(),
        "files": len(process.open_files()) + len(process.net_connections()),
        "handles": process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        "temporary": temporary_files(*folders),
    }


@bench_command(__doc__)
@click.argument("runs", type=click.IntRange(4), default=30)
@click.option(
    "--steps", type=click.IntRange(1), help="Optimizer steps in each run. The default is the demo's own number."
)
def main(runs: int, steps: int | None) -> None:
    preset = find_preset("demo-yoda")
    config = preset.config.with_settings([f"training.max_steps={steps}"] if steps else [])
    with tempfile.TemporaryDirectory() as folder:
        temporary, usual = Path(folder) / "temporary", tempfile.tempdir
        temporary.mkdir()
        tempfile.tempdir = str(temporary)  # counts what this program leaves there, and no other
        try:
            found = soak(Path(folder) / "runs", temporary, runs, preset.name, config)
        finally:
            tempfile.tempdir = usual
    third, last = found[2], found[-1]
    ratios = {f"{name}_ratio": value / max(third[name], 1) for name, value in last.items()}
    report("soak", runs=runs, **{f"{name}_after_third": value for name, value in third.items()}, **last, **ratios)


def soak(runs_dir: Path, temporary: Path, runs: int, name: str, config: RunConfig) -> list[dict[str, int]]:
    """What `measure` found after each run."""
    workbench = Workbench(runs_dir)
    found = []
    for number in range(1, runs + 1):
        workbench.start(config, name)
        snapshot = workbench.wait()
        if snapshot.status != "completed":
            raise SystemExit(f"Run {number} ended as {snapshot.status}: {snapshot.message}")
        ask(workbench)
        if number > 1:
            workbench.lab.load_run(list_runs(runs_dir)[1].id)
            ask(workbench)
        found.append(measure(runs_dir / "prepared", runs_dir / "uploads", temporary))
        speed = snapshot.finished.steps / snapshot.finished.runtime_s
        figures = "  ".join(f"{what} {value:,}" for what, value in found[-1].items())
        print(f"{number:3}  {speed:.2f} steps/s  {figures}", flush=True)
    return found


def ask(workbench: Workbench) -> None:
    sampling = Sampling(max_new_tokens=40)
    *_, (base, tuned, difference) = workbench.lab.compare("The old man reads a book.", "", sampling)
    if not (base.text and tuned.text and difference > 0):
        raise SystemExit("Base and tuned gave no two different answers, so these runs say nothing.")


if __name__ == "__main__":
    main()
