"""Our GGUF files beside those of llama.cpp's own converter and quantizer: how many tensors differ.

    python -m bench.llama_cpp SOURCES QUANTIZE [--save]

SOURCES is a folder with llama.cpp's sources, QUANTIZE its program llama-quantize, for example after

    git clone https://github.com/ggml-org/llama.cpp && cd llama.cpp
    cmake -B build && cmake --build build --target llama-quantize

The run is merged into float32 for the converter; ours are written straight from base and adapter. Its weights are
multiples of powers of two, so that merging rounds nothing and the tensors are the same on every machine. --save keeps
hashes of llama.cpp's tensors, with which tests/export/test_llama_cpp_tensors.py compares ours.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import click

from bench.common import PROJECT, bench_command, report
from bench.export import make_run

HASHES = PROJECT / "tests/export/llama_cpp_tensors.json"
CONVERTED = ("f32", "f16", "bf16", "q8_0")
QUANTIZED = ("q4_k_m", "q5_k_m", "q6_k")
# The converter knows a tokenizer by a hash of its own and stops at any other.
CONVERT = """
import runpy, sys
from pathlib import Path
script = Path(sys.argv[1]) / "convert_hf_to_gguf.py"
sys.path[:0] = [str(script.parent), str(script.parent / "gguf-py")]
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
sys.argv[:2] = [str(script)]
runpy.run_path(str(script), run_name="__main__")
"""


def exact(name: str, first: int, last: int, shape: tuple[int, ...]):
    """Rows of a weight of this shape: multiples of a power of two that follow from the weight's name."""
    import torch

    columns = shape[1] if len(shape) > 1 else 1
    places = torch.arange(first * columns, last * columns) + zlib.crc32(name.encode())
    scattered = (places * 2654435761) % 2**32 // 2**12
    most, scale = (15, 2**-8) if ".lora_" in name else (127, 2**-10)
    return ((scattered % (2 * most + 1) - most) * scale).float().reshape(last - first, *shape[1:])


def write_ours(folder: Path) -> dict[str, dict[str, str]]:
    """Exports a run of exact weights in all precisions; returns the hashes of its tensors, as `hashes_of`."""
    from core.export.export import write_export
    from core.export.find_source import find_source
    from core.export.wanted import Wanted

    make_run(folder / "runs", "beside llama.cpp", exact)
    source = find_source(folder / "runs", "run")
    write_export(source, Wanted("gguf", folder / "ours", quant=CONVERTED + QUANTIZED))
    return {quant: hashes_of(folder / "ours" / f"run-{quant}.gguf") for quant in CONVERTED + QUANTIZED}


def hashes_of(file: Path) -> dict[str, str]:
    """The type of each tensor and the beginning of the SHA-256 of its bytes, by its name."""
    from gguf import GGUFReader

    return {
        tensor.name: f"{tensor.tensor_type.name} {hashlib.sha256(tensor.data.tobytes()).hexdigest()[:16]}"
        for tensor in sorted(GGUFReader(file).tensors, key=lambda tensor: tensor.name)
    }


def write_theirs(folder: Path, sources: Path, quantize: Path) -> dict[str, dict[str, str]]:
    """What llama.cpp's converter and quantizer make of the merged run in `folder`; hashes as `hashes_of`."""
    from core.export.export import write_export
    from core.export.find_source import find_source
    from core.export.wanted import Wanted

    merged = folder / "merged"
    write_export(find_source(folder / "runs", "run"), Wanted("merged", merged, "float32"))
    files = {quant: folder / f"theirs-{quant}.gguf" for quant in CONVERTED + QUANTIZED}
    for quant in CONVERTED:
        convert = [sys.executable, "-c", CONVERT, str(sources), str(merged), "--outtype", quant]
        _run([*convert, "--outfile", str(files[quant])])
    for quant in QUANTIZED:
        _run([str(quantize), str(files["f32"]), str(files[quant]), quant.upper()])
    return {quant: hashes_of(file) for quant, file in files.items()}


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-2000:]}")


@bench_command(__doc__)
@click.argument("sources", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("quantize", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--save", is_flag=True, help="Keep the hashes of llama.cpp's tensors for the tests.")
def main(sources: Path, quantize: Path, save: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours = write_ours(Path(folder))
        theirs = write_theirs(Path(folder), sources.resolve(), quantize.resolve())
    for quant, tensors in theirs.items():
        names = tensors.keys() | ours[quant].keys()
        different = sorted(name for name in names if tensors.get(name) != ours[quant].get(name))
        report(f"beside llama.cpp, {quant}", tensors=len(tensors), different=len(different), which=different[:5])
    if save:
        HASHES.write_text(json.dumps(theirs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
