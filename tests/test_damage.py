"""Folders and files that are damaged, one damage each: refused in one sentence, or passed over with the fault said.

The models, presets and runs are real ones; a small function hurts a copy. Nothing of it may end the program.
"""

import json
import re
import shutil
import struct
from pathlib import Path


from tests.conftest import PROJECT

DEMO = PROJECT / "presets" / "demo-llama"
REPR = re.compile(r"\[Errno|Traceback|Error\b|Exception|<class|object at 0x|\('|\('|site-packages|\\n")
MOST = 400  # characters of a sentence


def check_sentence(error: BaseException | str, *named: str) -> str:
    """That it is one plain sentence which names what it is about."""
    said = str(error)
    assert said.endswith(".") and "\n" not in said and len(said) <= MOST, said
    assert not REPR.search(said), said
    assert not re.search(r"\.\.$|[.!?] +[A-Z]", said), f"more than one sentence: {said}"
    assert any(name in said for name in named), (said, named)
    return said


def cut(file: Path, share: float = 0.5) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def change(file: Path, **values) -> None:
    """Sets values of a JSON file; None takes them out."""
    merged = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps({k: v for k, v in merged.items() if v is not None}), encoding="utf-8")


def instead(file: Path, content: str | bytes | None = None) -> None:
    """Other content; a folder in its place where there is none."""
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


DEEP = "[" * 100_000


# A model's folder

WEIGHTS = "model.safetensors"


def weights(folder: Path, **changed) -> None:
    """Weights of the model by name, as `changed` makes them of what they are; None takes one out."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    for name, make in changed.items():
        name = f"model.{name}.weight"
        made = make(tensors.pop(name))
        if made is not None:
            tensors[name] = made.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def header(folder: Path, edit) -> None:
    data = (folder / WEIGHTS).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    text = edit(data[8 : 8 + size])
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def shards(folder: Path, index) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index) if not isinstance(index, str) else index)


CONFIG, TOKENS, TEMPLATE = "config.json", "tokenizer.json", "chat_template.jinja"
FIRST = "model-00001-of-00002.safetensors"
MODELS = {
    "weights empty": lambda f: instead(f / WEIGHTS, b""),
    "weights of zeros": lambda f: instead(f / WEIGHTS, bytes(100_000)),
    "weights cut in the header": lambda f: cut(f / WEIGHTS, 0.001),
    "weights cut in the data": lambda f: cut(f / WEIGHTS, 0.7),
    "weights of seven bytes": lambda f: instead(f / WEIGHTS, b"1234567"),
    "a header of 2**63 bytes": lambda f: instead(f / WEIGHTS, struct.pack("<Q", 2**63) + b"{}"),
    "a header that is no JSON": lambda f: header(f, lambda text: text.replace(b"{", b"<")),
    "a header with offsets beyond the end": lambda f: header(f, lambda text: text.replace(b"393216]", b"9" * 17 + b"]")),
    "a header with a shape of 1e15": lambda f: header(f, lambda text: text.replace(b"[1536,128]", b"[1536000000000000,128]")),
    "a header with a type that is none": lambda f: header(f, lambda text: text.replace(b"BF16", b"BX16")),
    "a page of HTML for weights": lambda f: instead(f / WEIGHTS, "<!DOCTYPE html><title>Not found</title>" * 50),
    "a pointer of Git LFS for weights": lambda f: instead(f / WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "a folder for weights": lambda f: instead(f / WEIGHTS),
    "a link in a circle for weights": lambda f: loop(f / WEIGHTS),
    "a weight of another shape": lambda f: weights(f, **{"layers.0.mlp.down_proj": lambda w: w[:, :100]}),
    "embeddings of another shape": lambda f: weights(f, embed_tokens=lambda w: w[:7]),
    "a weight is missing": lambda f: weights(f, **{"layers.2.self_attn.q_proj": lambda w: None}),
    "a weight of whole numbers": lambda f: weights(f, norm=lambda w: w.int()),
    "weights that are no numbers": lambda f: weights(f, norm=lambda w: w * float("nan")),
    "an index naming a missing shard": lambda f: shards(f, {"weight_map": {"a": FIRST, "b": "model-00002-of-00002.safetensors"}}),
    "an index that is a list": lambda f: shards(f, [FIRST]),
    "an index naming nothing": lambda f: shards(f, {"weight_map": {}}),
    "an index of brackets": lambda f: shards(f, DEEP),
    "an index naming a weight that is not in its shard": lambda f: shards(f, {"metadata": {}, "weight_map": {"model.norm.weight": FIRST, "x": FIRST}}),
    "config empty": lambda f: instead(f / CONFIG, ""),
    "config a list": lambda f: instead(f / CONFIG, "[]"),
    "config of brackets": lambda f: instead(f / CONFIG, DEEP),
    "config in another encoding": lambda f: instead(f / CONFIG, b"\xff\xfe{\x00}\x00"),
    "config with a number of 5000 digits": lambda f: instead(f / CONFIG, '{"model_type": "llama", "vocab_size": ' + "9" * 5000 + "}"),
    "config a folder": lambda f: instead(f / CONFIG),
    "config a link in a circle": lambda f: loop(f / CONFIG),
    "config: model_type a list": lambda f: change(f / CONFIG, model_type=["llama"]),
    "config: model_type unknown": lambda f: change(f / CONFIG, model_type="lama"),
    "config: architectures unknown": lambda f: change(f / CONFIG, architectures=["LamaForCausalLM"]),
    "config: architectures a number": lambda f: change(f / CONFIG, architectures=7),
    "config: vocab_size 1e12": lambda f: change(f / CONFIG, vocab_size=10**12),
    "config: vocab_size a string": lambda f: change(f / CONFIG, vocab_size="many"),
    "config: hidden_size 0": lambda f: change(f / CONFIG, hidden_size=0),
    "config: hidden_size 1e9": lambda f: change(f / CONFIG, hidden_size=10**9),
    "config: num_hidden_layers -1": lambda f: change(f / CONFIG, num_hidden_layers=-1),
    "config: num_hidden_layers 5": lambda f: change(f / CONFIG, num_hidden_layers=5),
    "config: num_hidden_layers 1e9": lambda f: change(f / CONFIG, num_hidden_layers=10**9),
    "config: num_attention_heads 0": lambda f: change(f / CONFIG, num_attention_heads=0),
    "config: intermediate_size null": lambda f: change(f / CONFIG, intermediate_size=None),
    "config: hidden_act unknown": lambda f: change(f / CONFIG, hidden_act="swoosh"),
    "config: rope_parameters a list": lambda f: change(f / CONFIG, rope_parameters=[1]),
    "config: max_position_embeddings 1e15": lambda f: change(f / CONFIG, max_position_embeddings=10**15),
    "config: quantised in a way that is none": lambda f: change(f / CONFIG, quantization_config={"quant_method": "magic"}),
    "tokenizer cut off": lambda f: cut(f / TOKENS),
    "tokenizer missing": lambda f: (f / TOKENS).unlink(),
    "tokenizer a list": lambda f: instead(f / TOKENS, "[]"),
    "tokenizer of brackets": lambda f: instead(f / TOKENS, DEEP),
    "tokenizer a folder": lambda f: instead(f / TOKENS),
    "tokenizer settings cut off": lambda f: cut(f / "tokenizer_config.json"),
    "tokenizer settings a list": lambda f: instead(f / "tokenizer_config.json", "[]"),
    "generation settings a list": lambda f: instead(f / "generation_config.json", "[]"),
    "generation settings cut off": lambda f: cut(f / "generation_config.json"),
    "chat template in another encoding": lambda f: instead(f / TEMPLATE, b"\xff\xfe\x00"),
    "chat template a folder": lambda f: instead(f / TEMPLATE),
    "chat template broken": lambda f: instead(f / TEMPLATE, "{% for m in messages %}{{ m.content }"),
    "chat template that names nothing": lambda f: instead(f / TEMPLATE, "{{ messages[99].content.x.y }}"),
    "chat template a long loop": lambda f: instead(f / TEMPLATE, "{% for i in range(10**9) %}{{ i }}{% endfor %}"),
    "chat template that writes for ever": lambda f: instead(f / TEMPLATE, "{{ 'a' * 10**12 }}"),
}
