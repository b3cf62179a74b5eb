"""Writes a run as GGUF files straight from base and adapter, a tensor at a time, in several precisions at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from core.disk.tolerant_reading import read_json
from core.export import k_quants
from core.export.gguf_head import pad, write_head
from core.export.gguf_models import add_architecture
from core.export.gguf_tensors import ROPE_FREQUENCIES, GgufTensors, rope
from core.export.gguf_tokenizer import Vocabulary, read_vocabulary
from core.export.in_order import in_order
from core.export.merged_weights import MergedWeights
from core.export.modelfile import chat_template
from core.export.source import Source

OF_GGML = {"Q4_K", "Q5_K", "Q6_K", "Q5_0", "Q5_1", "Q8_0"}
Written = Callable[[int], None]


def write_gguf(
    folder: Path,
    source: Source,
    weights: MergedWeights,
    precisions: Sequence[str],
    written: Written = lambda size: None,
) -> list[Path]:
    """Fills `folder` with a GGUF file per precision (`core.export.wanted.PRECISIONS`); returns the files.

    `written` is told the bytes of each piece. Raises ExportError if GGUF has no form for the model or its tokenizer,
    and OSError.
    """
    for precision in set(precisions) & k_quants.MIXES.keys():
        k_quants.check_ggml(precision)
    tensors = GgufTensors(weights)
    vocabulary = read_vocabulary(source.adapter_dir, tensors.config["vocab_size"])
    files = [folder / f"{source.name}-{precision}.gguf" for precision in precisions]
    for file, precision in zip(files, precisions, strict=True):
        _write_head(file, source, tensors, vocabulary, precision)
    with ExitStack() as stack:
        outs = [stack.enter_context(open(file, "ab")) for file in files]
        if tensors.frequencies is not None:
            for out in outs:
                _append(out, tensors.frequencies.tobytes(), written)
                pad(out)
        for contents, is_end in in_order(_pieces(tensors, precisions)):
            for out, content in zip(outs, contents, strict=True):
                _append(out, content, written)
                if is_end:
                    pad(out)
    return files


def _pieces(tensors: GgufTensors, precisions: Sequence[str]) -> Iterator[Callable]:
    """What makes each piece of the tensors, as (its bytes in each precision, whether it is its tensor's last)."""
    for tensor in tensors.tensors:
        stored = [tensors.stored(tensor, precision) for precision in precisions]
        pieces = tensors.pieces(tensor)
        for piece in pieces:
            yield lambda p=piece, s=stored, is_end=piece is pieces[-1]: (_converted(p(), s), is_end)


def _converted(rows, stored: Sequence) -> list:
    """Rows of float32 as they are stored in each precision."""
    from gguf.quants import quantize

    # The official package has no kernels for types with k, and takes twice as long as ggml to make the same Q8_0.
    return [
        k_quants.quantize(rows, kind.name) if kind.name in OF_GGML and k_quants.has_ggml() else quantize(rows, kind)
        for kind in stored
    ]


def _append(out, content, written: Written) -> None:
    content = memoryview(content)
    out.write(content)
    written(content.nbytes)


def _write_head(file: Path, source: Source, tensors: GgufTensors, vocabulary: Vocabulary, precision: str) -> None:
    """Everything that comes before the tensors' values."""
    import numpy as np
    from gguf import GGML_QUANT_VERSION, GGUFWriter, LlamaFileType
    from gguf.quants import quant_shape_to_byte_shape

    writer = GGUFWriter(file, tensors.architecture)
    kind = "ALL_F32" if precision == "f32" else f"MOSTLY_{precision.upper()}"
    writer.add_type("model")
    writer.add_name(source.run.short_name)
    adds = {"license": writer.add_license, "license_name": writer.add_license_name}
    adds |= {"license_link": writer.add_license_link}
    for name, value in source.license.items():
        adds[name](value)
    writer.add_file_type(LlamaFileType[kind])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    _add_model(writer, tensors)
    _add_tokenizer(writer, source, vocabulary)
    if tensors.frequencies is not None:
        writer.add_tensor_info(
            ROPE_FREQUENCIES, tensors.frequencies.shape, np.dtype(np.float32), tensors.frequencies.nbytes
        )
    for tensor in tensors.tensors:
        stored = tensors.stored(tensor, precision)
        shape = quant_shape_to_byte_shape(tensor.shape, stored)
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), int(np.prod(shape)), raw_dtype=stored)
    write_head(writer, file)


def _add_model(writer, tensors: GgufTensors) -> None:
    config, positions = tensors.config, rope(tensors.config)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(tensors.layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(tensors.heads)
    writer.add_head_count_kv(tensors.kv_heads)
    writer.add_key_length(tensors.head_dim)
    writer.add_value_length(tensors.head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(tensors.head_dim)
    writer.add_rope_freq_base(positions["rope_theta"])
    add_architecture(writer, config, tensors.architecture)
    if positions["rope_type"] == "linear":
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(positions["factor"])


def _add_tokenizer(writer, source: Source, vocabulary: Vocabulary) -> None:
    from transformers import AutoTokenizer

    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.model == "llama":
        writer.add_token_scores(list(vocabulary.scores))
        writer.add_add_space_prefix(vocabulary.add_space_prefix)
    else:
        writer.add_token_merges(list(vocabulary.merges))
    writer.add_add_bos_token(vocabulary.add_bos)
    tokenizer = AutoTokenizer.from_pretrained(source.adapter_dir)
    ids = {
        writer.add_bos_token_id: tokenizer.bos_token_id,
        writer.add_eos_token_id: tokenizer.eos_token_id,
        writer.add_unk_token_id: tokenizer.unk_token_id,
        writer.add_pad_token_id: tokenizer.pad_token_id,
    }
    for add, number in ids.items():
        if number is not None:
            add(number)
    ends = read_json(source.base_dir / "config.json").get("eos_token_id")
    others = [end for end in (ends if isinstance(ends, list) else [ends]) if end not in (None, tokenizer.eos_token_id)]
    if others:
        writer.add_eot_token_id(others[0])
    if template := chat_template(source):
        writer.add_chat_template(template)
