"""Many runs of the demo one after the other in one program, with comparisons between them: does anything grow?

    python -m bench.soak [RUNS] [--steps N]    30 whole runs by default, about a quarter of an hour on two idle cores

After each run base and tuned answer a question, and the run before is loaded again and asked, too. Printed after each:
resident memory, threads, open files, and files left in the temporary folders; at the end the last against the third.
"""

import gc
import tempfile
import threading
from pathlib import Path

import click
import psutil

from core.answering.sampling import Sampling
from core.runs.run_folder import list_runs
from core.settings.presets import find_preset
from core.workbench.workbench import Workbench


def temporary_files(*folders: Path) -> int:
    return sum(1 for folder in folders if folder.is_dir() for _ in folder.iterdir())


def measure(*folders: Path) -> dict[str, int]:
    gc.collect()
    process = psutil.Process()
    return {
        "MiB": process.memory_info().rss // 2**20,
        "threads": threading.active_count(),
        "system threads": process.num_threads(),
        "files": len(process.open_files()) + len(process.net_connections()),
        "handles": process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
        "temporary": temporary_files(*folders),
    }


@click.command()
@click.argument("runs", type=click.IntRange(4), default=30)
@click.option("--steps", type=int, default=None, help="Shorter runs than the demo's own.")
def soak(runs: int, steps: int | None) -> None:
    preset = find_preset("demo-yoda")
    config = preset.config.with_settings([f"training.max_steps={steps}"] if steps else [])
    with tempfile.TemporaryDirectory() as folder:
        runs_dir, temporary = Path(folder) / "runs", Path(folder) / "temporary"
        temporary.mkdir()
        tempfile.tempdir = str(temporary)  # what this program leaves there, and no other
        bench = Workbench(runs_dir)
        found = []
        for number in range(1, runs + 1):
            bench.start(config, preset.name)
            snapshot = bench.wait()
            assert snapshot.status == "completed", snapshot.message
            ask(bench)
            if number > 1:
                bench.lab.load_run(list_runs(runs_dir)[1].id)
                ask(bench)
            found.append(measure(runs_dir / "prepared", runs_dir / "uploads", temporary))
            speed = snapshot.finished.steps / snapshot.finished.runtime_s
            print(
                f"{number:3}  {speed:.2f} steps/s  "
                + "  ".join(f"{name} {value:,}" for name, value in found[-1].items()),
                flush=True,
            )
        third, last = found[2], found[-1]
        for name, value in last.items():
            print(
                f"{name}: {third[name]:,} after the third, {value:,} at the end, {value / max(third[name], 1):.3f} times"
            )


def ask(bench: Workbench) -> None:
    *_, (base, tuned, difference) = bench.lab.compare("The old man reads a book.", "", Sampling(max_new_tokens=40))
    assert base.text and tuned.text and difference > 0


if __name__ == "__main__":
    soak()
