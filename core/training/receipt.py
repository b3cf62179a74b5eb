"""What really trains, read back from model, trainer and optimizer, and every setting that a library changed.

Knows nothing of threads or gradio.
"""

from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.row_view import end_mark
from core.data.prepared.survey import survey
from core.model.embedding_rows import rows_on, trained_layers
from core.model.loaded_model import LoadedModel
from core.runs.events import Change, LearningGroup, Receipt
from core.settings.run_config import RunConfig
from core.training.embeddings_receipt import embeddings_receipt, is_of_embeddings

_REASONS = {
    "packing": "rows in one sequence are kept apart by attention kernels that only a GPU has",
    "bf16": "this processor has no fast bfloat16",
    "fp16": "float16 is slow on a processor",
}


def make_receipt(
    loaded: LoadedModel, config: RunConfig, data: PreparedData, trainer, asked: dict, optimizer
) -> Receipt:
    """`asked` holds the arguments the trainer was built with; `optimizer` is the one it is about to use."""
    weights = {id(weight): name for name, weight in loaded.model.named_parameters()}
    trainable = sum(weight.numel() for weight in loaded.model.parameters() if weight.requires_grad)
    groups = [_group(group, weights) for group in optimizer.param_groups if group["params"]]
    # Accelerate wraps the optimizer; the person wants to know what is inside.
    inner = getattr(optimizer, "optimizer", optimizer)
    return Receipt(
        trainable_parameters=trainable,
        total_parameters=loaded.report.parameters + trainable,
        groups=tuple(groups),
        precision=_precision(loaded, trainer),
        optimizer=type(inner).__name__,
        max_steps=trainer.state.max_steps,
        train_rows=len(data.train),
        validation_rows=len(data.validation),
        trained_tokens_share=data.trained_tokens_share,
        notes=tuple(_notes(loaded, config, data, trainer)),
        changes=tuple(_changes(loaded, config, trainer, asked)),
        embeddings=embeddings_receipt(loaded, inner),
    )


def _group(group: dict, weights: dict[int, str]) -> LearningGroup:
    names = [weights.get(id(weight), "") for weight in group["params"]]
    embeddings = all(is_of_embeddings(name) for name in names)
    return LearningGroup(
        name="embeddings" if embeddings else "adapter",
        learning_rate=group.get("initial_lr", group["lr"]),
        weight_decay=group["weight_decay"],
        parameters=sum(weight.numel() for weight in group["params"]),
    )


def _precision(loaded: LoadedModel, trainer) -> str:
    trained = {str(w.dtype).removeprefix("torch.") for w in loaded.model.parameters() if w.requires_grad}
    autocast = "bfloat16" if trainer.args.bf16 else "float16" if trainer.args.fp16 else "float32"
    weights = f"{loaded.report.linear_layers_4bit} of {loaded.report.linear_layers} layers in 4-bit"
    return f"{weights}, computed in {autocast}, trained weights in {' and '.join(sorted(trained))}"


def _notes(loaded: LoadedModel, config: RunConfig, data: PreparedData, trainer) -> list[str]:
    notes = []
    if config.training.use_gradient_checkpointing == "unsloth" and loaded.device.type == "cpu":
        notes.append("Gradient checkpointing recomputes without offloading, because there is no GPU to offload from.")
    if config.adapter.modules_to_save and loaded.device.type == "cpu" and loaded.report.dtype != "float32":
        notes.append(f"Trained embeddings are kept in {loaded.report.dtype} afterwards, the precision of the base.")
    notes += survey(data, config.training, end_mark(loaded.tokenizer, loaded.eos_token_ids)).warnings
    if data.left_out.total:
        notes.append(f"{data.left_out.total:,} of {data.rows:,} rows are left out: {data.left_out.in_words()}.")
    if config.training.early_stopping_patience and not (
        config.training.eval_steps and trainer.eval_dataset is not None
    ):
        notes.append(
            "Early stopping does nothing: without validation rows, or with 0 steps between checks, there are none to go by."
        )
    checked = 0 if trainer.eval_dataset is None else len(trainer.eval_dataset)
    if checked < len(data.validation):
        notes.append(f"Checked in between on the first {checked} of {len(data.validation)} validation rows.")
    return notes


def _changes(loaded: LoadedModel, config: RunConfig, trainer, asked: dict) -> list[Change]:
    runs = {key: getattr(trainer.args, key) for key in asked}
    found = [
        Change(setting=key, asked=_word(asked[key]), runs=_word(runs[key]), reason=_reason(key, asked[key]))
        for key in asked
        if _word(asked[key]) != _word(runs[key])
    ]
    adapter = loaded.model.peft_config["default"]
    has_of = {key: getattr(adapter, key) for key in ("r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules")}
    has_of["modules_to_save"] = trained_layers(loaded)
    if has_of["modules_to_save"]:
        rows = rows_on(loaded.model)
        is_as_asked = config.adapter.trains_rows and rows is not None and not config.adapter.continue_from
        has_of["trainable_tokens"] = (
            config.adapter.trainable_tokens if is_as_asked else f"{len(rows):,} rows" if rows else "all"
        )
    for key, has in has_of.items():
        wanted = getattr(config.adapter, key)
        if _word(wanted) != _word(has):
            reason = "the adapter that this run goes on from" if config.adapter.continue_from else ""
            found.append(Change(setting=key, asked=_word(wanted), runs=_word(has), reason=reason))
    checkpointing = getattr(loaded.model, "_unsloth_gradient_checkpointing", None)  # there on a GPU only
    wanted = config.training.use_gradient_checkpointing
    if checkpointing is not None and _word(checkpointing) != _word(wanted):
        found.append(
            Change(
                setting="use_gradient_checkpointing",
                asked=_word(wanted),
                runs=_word(checkpointing),
                reason="short rows",
            )
        )
    if config.model.load_in_4bit and not loaded.report.linear_layers_4bit:
        found.append(
            Change(setting="load_in_4bit", asked="yes", runs="no", reason="its layers are too narrow for 4-bit")
        )
    if config.model.max_seq_length != loaded.report.max_seq_length:
        longest = loaded.report.max_seq_length
        found.append(Change(setting="max_seq_length", asked=str(config.model.max_seq_length), runs=str(longest)))
    return found


def _reason(key: str, asked) -> str:
    if key == "optim":
        return "the same, in one faster step" if asked == "adamw_torch" else "this optimizer needs a GPU"
    return _REASONS.get(key, "")


def _word(value) -> str:
    """A value as a person would write it, the same for equal settings."""
    value = getattr(value, "value", value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, list | set | tuple):
        return ", ".join(sorted(value or [])) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
