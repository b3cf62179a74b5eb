"""Makes everything the demo needs under presets/ again: python -m core.demo [--out FOLDER]

It takes about twelve minutes on one idle CPU core (half a second a step). The seeds are fixed, so the rows are always
the same, and so is the model on the same machine with the same versions.
"""

import argparse
import json
import os
from pathlib import Path

# Before torch is imported: waiting threads should spin only briefly, or they slow each other down on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from core.demo.build import build
from core.demo.grammar import yoda_rows

ROWS = 720


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m core.demo", description="Make the demo model and its data.")
    parser.add_argument("--out", type=Path, default=Path("presets"), help="folder to write to (default: presets)")
    out: Path = parser.parse_args().out
    (out / "data").mkdir(parents=True, exist_ok=True)
    with open(out / "data" / "yoda.jsonl", "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in yoda_rows(ROWS, seed=3407))
    build(out / "demo-llama")


if __name__ == "__main__":
    main()
