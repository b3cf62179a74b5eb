"""A file of a million rows: how soon its first rows can be previewed, and how much time and memory it takes to prepare.

    python -m bench.data [ROWS] [ROUNDS]

Compared with a bare script in the same run: `datasets.load_dataset`, then `map` with the same texts, tokens and labels.
The bars: previewed within 3 s, at most 1.2 times the bare script's time, and at most 500 MiB more memory than a file
of a single row takes. Each measurement is a process of its own with an empty cache.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from bench.common import PROJECT, bench_command, median_ratio, report, rounds_argument

WORDS = "the old man reads a book while rain falls on small green hills and nobody asks why it never stops".split()

OURS = """
import resource, sys, time
from pathlib import Path
from transformers import AutoTokenizer
import datasets
from core.settings.sections import DataConfig
from core.data.prepared.prepare import prepare
model, path, folder, limit = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]) or None
tokenizer = AutoTokenizer.from_pretrained(model)
config = DataConfig(path=path, validation_share=0.0)
began = time.monotonic()
data = prepare(config, tokenizer, 512, True, limit=limit, parent=folder)
seconds = time.monotonic() - began
"""

BARE = """
import resource, sys, time
from transformers import AutoTokenizer
import datasets
model, path, folder = sys.argv[1:4]
tokenizer = AutoTokenizer.from_pretrained(model)

def tokenised(batch):
    texts, starts = [], []
    for instruction, given, answer in zip(batch["instruction"], batch["input"], batch["output"]):
        asked = [{"role": "user", "content": instruction + "\\n\\n" + given}]
        start = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        texts.append(tokenizer.apply_chat_template(asked + [{"role": "assistant", "content": answer}], tokenize=False))
        starts.append(len(start))
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, truncation=True, max_length=512)
    labels = [
        [token if begin + end >= 2 * start else -100 for token, (begin, end) in zip(ids, offsets)]
        for ids, offsets, start in zip(encoded["input_ids"], encoded["offset_mapping"], starts)
    ]
    return {"input_ids": encoded["input_ids"], "labels": labels}

began = time.monotonic()
rows = datasets.load_dataset("json", data_files=path, split="train", cache_dir=folder)
data = rows.map(tokenised, batched=True, remove_columns=rows.column_names)
seconds = time.monotonic() - began
"""
RESULT = "columns = {name: data.train[0].__dict__[name] for name in ('input_ids', 'labels')}; rows = len(data.train)"
BARE_RESULT = "columns = data[0]; rows = len(data)"
PRINT_RESULT = """
import json
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mib": peak, "rows": rows, "first": columns}))
"""


def write_rows(path: Path, rows: int) -> None:
    """Alpaca rows of about 500 bytes, each different."""
    generator = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            words = generator.choices(WORDS, k=88)
            row = {
                "instruction": f"Number {number}: " + " ".join(words[:18]),
                "input": " ".join(words[18:48]),
                "output": " ".join(words[48:]),
            }
            file.write(json.dumps(row) + "\n")


def measured(script: str, *arguments: str) -> dict:
    """Runs the script in a process of its own, with no cache; returns what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"PYTHONPATH": str(PROJECT), "HF_DATASETS_CACHE": folder, "HF_HUB_OFFLINE": "1"}
        env["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        model = str(PROJECT / "presets" / "demo-llama")
        command = [sys.executable, "-c", script, model, arguments[0], folder, *arguments[1:]]
        done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"A measurement failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@bench_command(__doc__)
@click.argument("rows", type=click.IntRange(1), default=1_000_000)
@rounds_argument(1)
@click.option("--previews", type=click.IntRange(1), default=3, show_default=True, help="How often to time the preview.")
def main(rows: int, rounds: int, previews: int) -> None:
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        big, small = Path(folder) / "big.jsonl", Path(folder) / "small.jsonl"
        write_rows(big, rows)
        write_rows(small, 1)
        ours_script, bare_script = OURS + RESULT + PRINT_RESULT, BARE + BARE_RESULT + PRINT_RESULT
        preview = [measured(ours_script, str(big), "200")["seconds"] for _ in range(previews)]
        empty = measured(ours_script, str(small), "0")
        for _ in range(rounds):
            ours.append(measured(ours_script, str(big), "0"))
            print(f"preview {statistics.median(preview):.2f} s, ours {ours[-1]['seconds']:.1f} s", file=sys.stderr)
            bare.append(measured(bare_script, str(big)))
            if ours[-1]["first"] != bare[-1]["first"] or ours[-1]["rows"] != bare[-1]["rows"]:
                raise SystemExit("The bare script made other tokens or labels, so the two cannot be compared.")
        size = big.stat().st_size / 2**20
    report(
        "data",
        rows=rows,
        file_mib=size,
        preview_s=statistics.median(preview),
        ours_s=statistics.median(run["seconds"] for run in ours),
        bare_s=statistics.median(run["seconds"] for run in bare),
        time_ratio=median_ratio([run["seconds"] for run in ours], [run["seconds"] for run in bare]),
        extra_mib=max(run["peak_mib"] for run in ours) - empty["peak_mib"],
        bare_extra_mib=max(run["peak_mib"] for run in bare) - empty["peak_mib"],
    )


if __name__ == "__main__":
    main()
