"""Seconds until the page answers, beside an empty Gradio page in the same run.

    python -m bench.startup [ROUNDS]

The bar: at most 1.3 times the empty page.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from bench.common import PROJECT, free_port, median_ratio, report

EMPTY = """
import sys, gradio as gr
with gr.Blocks(analytics_enabled=False) as page:
    gr.Markdown("nothing")
page.launch(server_port=int(sys.argv[1]))
"""


def seconds_until_answer(command: list[str], port: int) -> float:
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30):
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{command[1]} ended with code {process.returncode} before it answered")
    finally:
        process.terminate()
        process.wait()


def main(rounds: int = 7) -> None:
    ours, empty = [], []
    with tempfile.TemporaryDirectory() as runs_dir:
        for number in range(rounds + 1):
            port = free_port()
            b = seconds_until_answer([sys.executable, "-c", EMPTY, str(port)], port)
            port = free_port()
            page = [sys.executable, "app.py", "--no-browser", "--port", str(port), "--runs-dir", runs_dir]
            a = seconds_until_answer(page, port)
            if number:  # the first round fills the disk's cache
                ours.append(a)
                empty.append(b)
    report("startup", ours_s=statistics.median(ours), empty_s=statistics.median(empty), ratio=median_ratio(ours, empty))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
