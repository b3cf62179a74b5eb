"""Seconds until the page answers, compared with an empty Gradio page in the same run.

    python -m bench.startup [ROUNDS]

The bar: at most 1.2 times the empty page.
"""

import statistics
import tempfile
import time

import click

from bench.common import bench_command, free_port, median_ratio, page_command, report, rounds_argument, served

EMPTY = """
import sys, gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    gr.Markdown("nothing")
page.launch(server_port=int(sys.argv[1]))
"""


def seconds_until_answer(command: list[str], port: int) -> float:
    began = time.monotonic()
    with served(command, port):
        return time.monotonic() - began


@bench_command(__doc__)
@rounds_argument(7)
@click.option(
    "--warm-up/--no-warm-up", default=True, help="First run a round that is not counted, to fill the disk cache."
)
def main(rounds: int, warm_up: bool) -> None:
    ours, empty = [], []
    with tempfile.TemporaryDirectory() as runs_dir:
        for number in range(rounds + warm_up):
            port = free_port()
            empty_s = seconds_until_answer(["-c", EMPTY, str(port)], port)
            port = free_port()
            our_s = seconds_until_answer(page_command(port, runs_dir), port)
            if number or not warm_up:
                ours.append(our_s)
                empty.append(empty_s)
    report("startup", ours_s=statistics.median(ours), empty_s=statistics.median(empty), ratio=median_ratio(ours, empty))


if __name__ == "__main__":
    main()
