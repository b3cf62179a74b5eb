"""Makes everything the demo needs under presets/ again: python -m core.demo [--out FOLDER]

Eight to nine minutes on two idle processor cores. The same seeds each time, so the same rows and, on the
same machine and versions, the same model.
"""

import argparse
import json
import os
from pathlib import Path

# Before torch is imported: threads that wait spin only briefly, or they would slow each other down on a busy machine.
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
