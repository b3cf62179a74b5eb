"""Makes everything the demo needs under presets/ again: python -m core.demo [--out FOLDER]

It takes about twelve minutes on one idle CPU core (half a second a step). The seeds are fixed, so the rows are always
the same, and so is the model on the same machine with the same versions.
"""

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path

# Before torch is imported: waiting threads should spin only briefly, or they slow each other down on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from core.demo.build import build
from core.demo.grammar import yoda_rows
from core.demo.recipe_rows import FILES

ROWS = 720


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m core.demo", description="Make the demo model and its data.")
    parser.add_argument("--out", type=Path, default=Path("presets"), help="folder to write to (default: presets)")
    out: Path = parser.parse_args().out
    write_rows(out / "data" / "yoda.jsonl", yoda_rows(ROWS, seed=3407))
    for name, rows in FILES.items():
        write_rows(out / "recipes" / "data" / name, rows())
    build(out / "demo-llama")


def write_rows(file: Path, rows: Iterable[dict]) -> None:
    """Writes the rows as JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", encoding="utf-8", newline="\n") as opened:
        opened.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
