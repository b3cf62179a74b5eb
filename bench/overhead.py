"""Steps per second and peak memory of our run, compared with a bare Unsloth script with the same settings.

    python -m bench.overhead [ROUNDS]

The bar: at least 0.98 times its steps per second, at most 1.05 times its peak memory. Each round runs both, one after
the other. The model has about 25M random weights, so that a step takes long enough to measure and a round ends within
a minute.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from bench.common import PROJECT, bench_command, make_llama, median_ratio, report, rounds_argument
from core.settings.run_config import RunConfig

SETTINGS = {
    "data": {"path": str(PROJECT / "presets" / "data" / "yoda.jsonl"), "validation_share": 0.0},
    "training": {
        "optim": "adamw_torch",
        "eval_steps": 0,
        "use_gradient_checkpointing": False,
        "save_steps": 0,  # the bare script saves none either
    },
}
OURS = """
import json, resource, sys
sys.argv = ["app.py", "train", sys.argv[1], "--runs-dir", sys.argv[2], "--json"]
import app
code = app.main()
print(json.dumps({"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2}))
sys.exit(code)
"""


def last_lines(command: list[str]) -> list[dict]:
    """The JSON lines that a command prints."""
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{command[1:3]} failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]


@bench_command(__doc__)
@rounds_argument(5)
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="Optimizer steps in each run.")
@click.option("--hidden-size", default=512, show_default=True, help="Hidden size of the model, a multiple of 64.")
@click.option("--layers", default=8, show_default=True, help="Layers of the model.")
def main(rounds: int, steps: int, hidden_size: int, layers: int) -> None:
    speeds, peaks = ([], []), ([], [])
    with tempfile.TemporaryDirectory() as folder:
        model = make_llama(Path(folder) / "llama", hidden_size, layers)
        config = RunConfig.build({"model": {"model_name": str(model), "max_seq_length": 128}, **SETTINGS})
        settings = Path(folder) / "settings.yaml"
        settings.write_text(config.with_settings([f"training.max_steps={steps}"]).to_yaml())
        for _ in range(rounds):
            bare = last_lines([sys.executable, "-m", "bench.bare", str(settings)])[-1]
            run, memory = last_lines([sys.executable, "-c", OURS, str(settings), folder])[-2:]
            speeds[0].append(run["steps"] / run["runtime_s"])
            speeds[1].append(bare["steps_per_s"])
            peaks[0].append(memory["peak_gib"])
            peaks[1].append(bare["peak_gib"])
    report(
        "overhead",
        ours_steps_per_s=statistics.median(speeds[0]),
        bare_steps_per_s=statistics.median(speeds[1]),
        speed_ratio=median_ratio(*speeds),
        ours_peak_gib=statistics.median(peaks[0]),
        bare_peak_gib=statistics.median(peaks[1]),
        memory_ratio=median_ratio(*peaks),
    )


if __name__ == "__main__":
    main()
