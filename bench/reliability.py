"""The long proofs at their full length, one after the other; the figures of `bench/RELIABILITY.md` come from here.

python -m bench.reliability            20 kills, a full disk, 50 times out of memory, a run as a script that uv
                                       installs, then 30 runs in one program
python -m bench.reliability --runs 4   with a shorter last part
"""

import subprocess
import sys
import time

import click

from bench.common import PROJECT, bench_command

PROOFS = [
    "journeys/test_killed.py", "journeys/test_disk_full.py", "journeys/test_out_of_memory.py",
    "training/test_script_export.py",
]  # fmt: skip


@bench_command(__doc__)
@click.option("--runs", type=click.IntRange(4), default=30, show_default=True, help="Number of runs in one program.")
def main(runs: int) -> None:
    commands = {name: [sys.executable, "-m", "pytest", "-q", "--long", f"tests/{name}"] for name in PROOFS} | {
        "soak": [sys.executable, "-m", "bench.soak", str(runs)]
    }
    codes = {}
    for name, command in commands.items():
        began = time.monotonic()
        codes[name] = subprocess.run(command, cwd=PROJECT).returncode
        print(f"{name}: {'passed' if codes[name] == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(any(codes.values()))


if __name__ == "__main__":
    main()
