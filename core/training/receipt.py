"""The receipt: what is really trained, read from model, trainer and optimizer, and every setting a library changed."""

from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.row_view import end_mark
from core.data.prepared.survey import survey
from core.data.prompts.prompt_date import on_date, prints_date
from core.evaluation.asked_questions import asked_by_rows
from core.families import layers_for
from core.model.embedding_rows import rows_on
from core.model.library_patches.model_parts import checkpointing_in_use, count_8bit, stored_as
from core.model.library_patches.peft_parts import adapted_layers, trained_layers
from core.model.library_patches.trainer_parts import unwrapped_optimizer
from core.model.loaded_model import LoadedModel
from core.problems import mark, tr, trn
from core.runs.events import AdaptedLayers, Change, LearningGroup, Receipt
from core.settings.run_config import RunConfig
from core.settings.steps import warmup_warning
from core.settings.training_section import TrainingConfig
from core.training.embeddings_receipt import embeddings_receipt, is_of_embeddings

# Reasons and single words are kept with the run in English, and shown with `tr`.
REASONS = {
    "packing": mark("separating rows in one sequence needs attention kernels that only run on a GPU"),
    "dtype": mark("this is slow on a CPU"),
}
FUSED, NEEDS_A_GPU = mark("the same optimizer, fused into one faster kernel"), mark("this optimizer needs a GPU")
CONTINUED = mark("the adapter that this run continues from")
OTHER_NAMES = mark("its other layers have other names")
SAME_LAYERS = mark("the layers of this model that do the same")
SHORT_ROWS = mark("short rows")
TOO_NARROW = mark("its layers are too narrow for 4-bit")
NO_OFFLOADING = mark("Gradient checkpointing recomputes without offloading, because there is no GPU to offload from.")
NO_EARLY_STOPPING = mark("Early stopping has no effect: it needs validation rows and more than 0 steps between checks.")
UNTRAINED_MARKS = mark(
    "The tokens of the chat template are new to this model, and nothing trains their embeddings: choose embed_tokens "
    "and lm_head under Fully trained layers."
)
NO_SECOND_MOMENT = mark("this optimizer does not have it")
OF_PRECISION = ("bf16", "fp16")  # arguments that follow from the model's precision, which is reported itself


def make_receipt(
    loaded: LoadedModel, config: RunConfig, data: PreparedData, trainer, asked: dict, optimizer
) -> Receipt:
    """`asked` has the arguments the trainer was built with; `optimizer` is the one it is about to use."""
    weights = {id(weight): name for name, weight in loaded.model.named_parameters()}
    trainable = sum(weight.numel() for weight in loaded.model.parameters() if weight.requires_grad)
    groups = [_group(group, weights) for group in optimizer.param_groups if group["params"]]
    # Accelerate wraps the optimizer; the receipt names the one inside.
    inner = unwrapped_optimizer(optimizer)
    dated = on_date(loaded.tokenizer, data.prompt_date)
    is_single_turn, questions = asked_by_rows(data, config.data.prompt_template, dated)
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
        changes=tuple(_changes(loaded, config, trainer, asked, inner)),
        embeddings=embeddings_receipt(loaded, inner),
        adapted=tuple(AdaptedLayers(name=name, count=count) for name, count in adapted_layers(loaded.model).items()),
        is_single_turn=is_single_turn,
        questions=questions,
    )


def _group(group: dict, weights: dict[int, str]) -> LearningGroup:
    names = [weights.get(id(weight), "") for weight in group["params"]]
    embeddings = all(is_of_embeddings(name) for name in names)
    return LearningGroup(
        name=mark("embeddings") if embeddings else mark("adapter"),
        learning_rate=group.get("initial_lr", group["lr"]),
        weight_decay=group["weight_decay"],
        parameters=sum(weight.numel() for weight in group["params"]),
    )


def _precision(loaded: LoadedModel, trainer) -> str:
    trained = {str(w.dtype).removeprefix("torch.") for w in loaded.model.parameters() if w.requires_grad}
    autocast = "bfloat16" if trainer.args.bf16 else "float16" if trainer.args.fp16 else loaded.report.dtype
    about = {"layers": loaded.report.linear_layers, "computed": autocast, "trained": tr(" and ").join(sorted(trained))}
    if in_8bit := count_8bit(loaded.model):
        words = mark("{count} of {layers} layers in 8-bit, computed in {computed}, trained weights in {trained}")
        return tr(words, count=in_8bit, **about)
    words = mark("{count} of {layers} layers in 4-bit, computed in {computed}, trained weights in {trained}")
    return tr(words, count=loaded.report.linear_layers_4bit, **about)


def _notes(loaded: LoadedModel, config: RunConfig, data: PreparedData, trainer) -> list[str]:
    """Sentences about what differs from what one might expect."""
    training, on_cpu = config.training, loaded.device.type == "cpu"
    notes = []
    notes += _notes_about_layers(loaded, config)
    if training.use_gradient_checkpointing == "unsloth" and on_cpu:
        notes.append(NO_OFFLOADING)
    if config.adapter.modules_to_save and on_cpu and loaded.report.dtype != "float32":
        words = mark("Trained embeddings are saved in {dtype}, the precision of the base.")
        notes.append(tr(words, dtype=loaded.report.dtype))
    if loaded.new_ids and not trained_layers(loaded.model):
        notes.append(UNTRAINED_MARKS)
    notes += survey(data, training, end_mark(loaded.tokenizer, loaded.eos_token_ids)).warnings
    if data.prompt_date and prints_date(loaded.tokenizer, config.data.prompt_template):
        day = f"{data.prompt_date:%d %B %Y}".removeprefix("0")
        notes.append(tr("The chat template inserts today's date; all prompts of this run use {day}.", day=day))
    if data.left_out.total:
        words = mark("{left_out:,} of {rows:,} rows are left out: {reasons}.")
        notes.append(tr(words, left_out=data.left_out.total, rows=data.rows, reasons=data.left_out.in_words()))
    if warning := warmup_warning(training, trainer.state.max_steps):
        notes.append(warning)
    has_checks = training.eval_steps and trainer.eval_dataset is not None
    if training.early_stopping_patience and not has_checks:
        notes.append(NO_EARLY_STOPPING)
    checked = 0 if trainer.eval_dataset is None else len(trainer.eval_dataset)
    if checked < len(data.validation):
        words = mark("Checks use the first {checked} of {rows} validation rows.")
        notes.append(tr(words, checked=checked, rows=len(data.validation)))
    return notes


def _notes_about_layers(loaded: LoadedModel, config: RunConfig) -> list[str]:
    """The chosen names that no layer of the model has, and what is trained instead."""
    missing, notes = _names_without_layers(loaded, config), []
    instead = {name: _does_the_same(loaded, name) for name in missing}
    if replaced := [name for name in missing if instead[name]]:
        layers = ", ".join(dict.fromkeys(layer for name in replaced for layer in instead[name]))
        words = mark("This model has {layers} in place of {missing}; these are adapted instead.")
        notes.append(tr(words, layers=layers, missing=", ".join(replaced)))
    if absent := [name for name in missing if not instead[name]]:
        found = ", ".join((*adapted_layers(loaded.model), *trained_layers(loaded.model)))
        words = mark("This model has no layers with the name {missing}: only {found} can be trained.")
        notes.append(tr(words, missing=", ".join(absent), found=found))
    return notes


def _does_the_same(loaded: LoadedModel, name: str) -> list[str]:
    """The adapted layers that do what a layer of this name does in other models."""
    adapted = adapted_layers(loaded.model)
    return [layer for layer in layers_for(loaded.model.config.model_type, [name]) if layer in adapted]


def _names_without_layers(loaded: LoadedModel, config: RunConfig) -> list[str]:
    """The chosen names that no layer of the model has. Of an adapter that is continued, its own names count."""
    if config.adapter.continue_from:
        return []
    named = {*adapted_layers(loaded.model), *trained_layers(loaded.model)}
    return [name for name in (*config.adapter.target_modules, *config.adapter.modules_to_save) if name not in named]


def _changes(loaded: LoadedModel, config: RunConfig, trainer, asked: dict, optimizer) -> list[Change]:
    """The settings that do not run as asked."""
    changes = [
        _change(setting, wanted, getattr(trainer.args, setting), _reason(setting, wanted))
        for setting, wanted in asked.items()
        if setting not in OF_PRECISION
    ]
    if asked["adam_beta2"] != TrainingConfig().adam_beta2 and "betas" not in optimizer.defaults:
        changes.append(_change("adam_beta2", asked["adam_beta2"], None, NO_SECOND_MOMENT))
    if config.model.dtype != "auto":
        changes.append(_change("dtype", config.model.dtype, loaded.report.dtype, REASONS["dtype"]))
    reason = CONTINUED if config.adapter.continue_from else ""
    for setting, runs in _adapter_settings(loaded, config).items():
        asked_for = getattr(config.adapter, setting)
        why = reason or (_about_names(loaded, config) if setting == "target_modules" else "")
        changes.append(_change(setting, asked_for, runs, why))
    checkpointing = checkpointing_in_use(loaded.model)
    if checkpointing is not None:
        wanted = config.training.use_gradient_checkpointing
        changes.append(_change("use_gradient_checkpointing", wanted, checkpointing, SHORT_ROWS))
    if config.model.load_in_4bit and not loaded.report.linear_layers_4bit:
        stored = stored_as(loaded.model)
        reason = tr("its weights are stored in {precision}", precision=stored) if stored else TOO_NARROW
        changes.append(_change("load_in_4bit", True, False, reason))
    changes.append(_change("max_seq_length", config.model.max_seq_length, loaded.report.max_seq_length))
    return [change for change in changes if change.asked != change.runs]


def _about_names(loaded: LoadedModel, config: RunConfig) -> str:
    """Why other layers than the chosen ones are adapted."""
    adapted = adapted_layers(loaded.model)
    absent = [name for name in config.adapter.target_modules if name not in adapted]
    return SAME_LAYERS if all(_does_the_same(loaded, name) for name in absent) else OTHER_NAMES


def _adapter_settings(loaded: LoadedModel, config: RunConfig) -> dict:
    """The adapter's settings as they are on the model."""
    adapter = loaded.model.peft_config["default"]
    keys = ("r", "lora_alpha", "use_rslora", "use_dora", "lora_dropout")
    settings = {key: getattr(adapter, key) for key in keys}
    settings["target_modules"] = list(adapted_layers(loaded.model))
    settings["modules_to_save"] = trained_layers(loaded.model)
    if settings["modules_to_save"]:
        rows = rows_on(loaded.model)
        is_as_asked = config.adapter.trains_rows and rows is not None and not config.adapter.continue_from
        if is_as_asked:
            settings["trainable_tokens"] = config.adapter.trainable_tokens
        else:
            settings["trainable_tokens"] = trn("{count:,} row", "{count:,} rows", len(rows)) if rows else mark("all")
    return settings


def changed(setting: str, asked: RunConfig, runs: RunConfig, reason: str) -> Change:
    """How a setting of the training section runs, and why it is not as it was asked for."""
    return _change(setting, getattr(asked.training, setting), getattr(runs.training, setting), reason)


def _change(setting: str, asked, runs, reason: str = "") -> Change:
    return Change(setting=setting, asked=_word(asked), runs=_word(runs), reason=reason)


def _reason(key: str, asked) -> str:
    if key == "optim":
        return FUSED if asked == "adamw_torch" else NEEDS_A_GPU
    return REASONS.get(key, "")


def _word(value) -> str:
    """A value as a person would write it; equal settings give equal words."""
    value = getattr(value, "value", value)
    if isinstance(value, bool):
        return mark("yes") if value else mark("no")
    if value is None or isinstance(value, list | set | tuple):
        return ", ".join(sorted(value or [])) or mark("none")
    return f"{value:g}" if isinstance(value, float) else str(value)
