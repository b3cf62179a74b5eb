"""Every export of a run of the demo, with the self-tests and without: seconds and processor time.

    python -m bench.export_demo [STEPS] [--to merged]

Trains the demo for STEPS first; that and the start of the program are not counted. Bars: all exports take under two
minutes with the tests, and under 30 seconds of processor time without.
"""

import resource
import tempfile
import time
from pathlib import Path

import click

from bench.common import bench_command, report

WANTED = {
    "adapter": {},
    "merged": {},
    "gguf": {"quant": ("f32", "f16", "bf16", "q8_0", "q4_k_m", "q5_k_m", "q6_k")},
    "ollama": {"quant": ("q8_0",)},
}


def cpu_seconds() -> float:
    """Of this process and of those it has waited for, such as llama.cpp's."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


@bench_command(__doc__)
@click.argument("steps", type=click.IntRange(1), default=160)
@click.option("--to", "kinds", type=click.Choice(list(WANTED)), multiple=True, help="Only this export; repeatable.")
def main(steps: int, kinds: tuple[str, ...]) -> None:
    from core.export.wanted import Wanted
    from core.settings.presets import find_preset
    from core.workbench.export_run import Exporter
    from core.workbench.workbench import Workbench

    with tempfile.TemporaryDirectory() as folder:
        workbench = Workbench(Path(folder) / "runs")
        run = workbench.start(find_preset("demo-yoda").config.with_settings([f"training.max_steps={steps}"]), "demo")
        snapshot = workbench.wait()
        if snapshot.status != "completed":
            raise SystemExit(f"The run ended as {snapshot.status}: {snapshot.message}")
        for is_tested in (True, False):
            exporter, failed = Exporter(workbench.lab, run), 0
            began, used = time.monotonic(), cpu_seconds()
            for to in kinds or WANTED:
                exported = exporter.export(Wanted(to, run.folder / "exports" / to, **WANTED[to]), is_tested)
                failed += len(exported.failed)
            report(
                f"exports of the demo, {'tested' if is_tested else 'not tested'}",
                steps=steps,
                exports=", ".join(kinds or WANTED),
                seconds=time.monotonic() - began,
                cpu_s=cpu_seconds() - used,
                failed=failed,
            )


if __name__ == "__main__":
    main()
