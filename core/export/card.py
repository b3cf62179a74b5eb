"""The README.md of an export: what it is, how it was made, and its figures, all read from the run."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from math import isfinite
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from core.evaluation.record import Evaluation
from core.evaluation.saved import load_evaluations
from core.export.checks import Check
from core.export.source import Source
from core.settings.run_config import RunConfig

LIBRARIES = ("unsloth", "transformers", "trl", "peft", "torch")
WHAT = {
    "adapter": "A LoRA adapter for",
    "merged": "A model merged from",
    "gguf": "GGUF files of",
    "ollama": "GGUF files for Ollama of",
    "lora-gguf": "A LoRA adapter, as GGUF, for",
}
USE = {
    "adapter": """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")""",
    "merged": """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")""",
    "gguf": "llama-cli -m FILE.gguf",
    "lora-gguf": "llama-cli -m BASE.gguf --lora FILE.gguf",
    "ollama": "ollama create my-model -f Modelfile\nollama run my-model",
}
USE_ON_A_FOLDER = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("the folder of the base model")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")"""


def write_card(folder: Path, source: Source, to: str) -> None:
    """Writes README.md into the folder of an export of this kind. Raises OSError."""
    text = f"---\n{_metadata(source, to).to_yaml()}\n---\n\n" + "\n".join(_lines(source, to)) + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def add_checks(folder: Path, checks: Sequence[Check]) -> None:
    """Adds to the README.md of an export what its self-test found. Raises OSError."""
    lines = [
        "\n## Self-test\n",
        "Each file compared with the trained model, on the same rows.\n",
        "| file | mean KL divergence (nats) | same next token | same answers | loss | loss of the model | result |",
        "|---|---|---|---|---|---|---|",
        *map(_line_of_check, checks),
    ]
    with open(folder / "README.md", "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _line_of_check(check: Check) -> str:
    losses = ("–" if loss is None else f"{loss:.4f}" for loss in (check.loss, check.loss_of_model))
    figures = (f"{check.mean_kl:.2g}", f"{check.top1:.2%}", f"{check.greedy_equal} of {check.greedy_of}", *losses)
    return f"| {check.file} | {' | '.join(figures)} | {'passed' if check.passed else 'failed'} |"


def _metadata(source: Source, to: str) -> ModelCardData:
    return ModelCardData(
        base_model=source.base_on_hub,
        **source.license,
        library_name={
            "adapter": "peft",
            "merged": "transformers",
            "gguf": "gguf",
            "ollama": "gguf",
            "lora-gguf": "gguf",
        }[to],
        pipeline_tag="text-generation",
        tags=["lora", "unsloth"],
        model_name=source.run.short_name,
        eval_results=list(_results(source)) or None,
    )


def _results(source: Source) -> Iterator[EvalResult]:
    """The measures of the newest evaluation, or the few that every run ends with, in the form of the Hub."""
    common = {"task_type": "text-generation", "dataset_type": "validation", "dataset_name": data_name(source.config)}
    evaluation = _evaluation(source)
    if evaluation is not None:
        for measure in evaluation.measures:
            if isfinite(measure.tuned):
                yield EvalResult(metric_type=measure.key, metric_value=measure.tuned, **common)
        return
    if held := source.run.snapshot().heldout:
        figures = {"loss": held.tuned_loss, "exact_match": held.tuned_exact}
        for name, value in figures.items():
            if value is not None and isfinite(value):
                yield EvalResult(metric_type=name, metric_value=value, **common)


def _evaluation(source: Source) -> Evaluation | None:
    """The newest evaluation on rows that the run was not trained on; none for a checkpoint, which it is not of."""
    if source.step is not None:
        return None
    return next((one for one in load_evaluations(source.run.folder) if one.source.kind == "validation"), None)


def data_name(config: RunConfig) -> str:
    """The dataset in a few words, without a path of this machine."""
    lines = config.data.path.splitlines()
    return ", ".join(line if not line.startswith(("/", "~", ".")) else Path(line).name for line in lines)


def _lines(source: Source, to: str) -> Iterator[str]:
    config, snapshot = source.config, source.run.snapshot()
    base = source.base_on_hub or Path(config.model.model_name).name
    what = WHAT[to]
    yield f"# {source.run.short_name}\n\n{what} {base}, trained with HearthTune.\n"
    if source.step is not None:
        yield f"It is the checkpoint at step {source.step:,}; figures below are of the whole run.\n"
    yield "## Training\n\n| | |\n|---|---|"
    for name, value in _facts(config, snapshot):
        yield f"| {name} | {value} |"
    if found := list(_figures(source)):
        yield "\n## On rows that it was not trained on\n"
        yield "| | base | tuned | 95% interval of the difference |\n|---|---|---|---|"
        yield from found
    use = USE_ON_A_FOLDER if to == "adapter" and source.base_on_hub is None else USE[to]
    fence = "```python" if to in ("adapter", "merged") else "```"
    yield f"\n## How to use it\n\n{fence}\n{use}\n```"
    named = source.license.get("license_name") or source.license.get("license")
    yield f"\nThe licence of the base model{f', {named},' if named else ''} applies to this model too."


def _facts(config: RunConfig, snapshot) -> Iterator[tuple[str, str]]:
    adapter, training = config.adapter, config.training
    yield "base loaded in", "4-bit (NF4)" if config.model.load_in_4bit else "16-bit"
    yield "adapter", f"{'rsLoRA' if adapter.use_rslora else 'LoRA'}, r {adapter.r}, alpha {adapter.lora_alpha}"
    if adapter.modules_to_save:
        yield "also trained", ", ".join(adapter.modules_to_save)
    if receipt := snapshot.receipt:  # not of an adapter that was brought in, whose training is unknown
        yield "dataset", data_name(config)
        yield "learning rate", f"{training.learning_rate:g}; of embeddings {training.embedding_learning_rate:g}"
        yield "rows", f"{receipt.train_rows:,} for training, {receipt.validation_rows:,} for validation"
        yield "trained weights", f"{receipt.trainable_parameters:,} of {receipt.total_parameters:,}"
    if finished := snapshot.finished:
        yield "steps", f"{finished.steps:,}"
        for name, loss in (("training loss", finished.train_loss), ("validation loss", finished.eval_loss)):
            if loss is not None:
                yield name, f"{loss:.4f}"
        yield "time", f"{finished.runtime_s:,.0f} s"
        yield "peak memory", f"{finished.peak_memory_gib:.2f} GiB"
    yield "exported with", ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


def _figures(source: Source) -> Iterator[str]:
    """Rows of the table of measures."""
    if evaluation := _evaluation(source):
        for one in evaluation.measures:
            between = "too few rows" if one.low is None else f"{one.low:+.4g} to {one.high:+.4g}"
            yield f"| {one.key} ({one.rows:,} rows) | {one.base:.4g} | {one.tuned:.4g} | {between} |"
    elif held := source.run.snapshot().heldout:
        for name, base, tuned in (
            ("loss", held.base_loss, held.tuned_loss), ("exact match", held.base_exact, held.tuned_exact),
        ):  # fmt: skip
            if base is not None:
                yield f"| {name} ({held.rows:,} rows) | {base:.4g} | {tuned:.4g} | not measured |"
