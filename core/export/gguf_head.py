"""What comes before the tensors' values in a GGUF file, and how values are aligned."""

from pathlib import Path

ALIGNMENT = 32  # bytes; where tensors begin, if the file does not say otherwise


def write_head(writer, file: Path) -> None:
    """Writes what was added to `writer` (gguf.GGUFWriter) to its `file`, up to where the first tensor begins."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(file, "ab") as out:
        pad(out)


def pad(out) -> None:
    """Zeros up to where the next tensor may begin."""
    out.write(b"\0" * (-out.tell() % ALIGNMENT))
