from collections.abc import Sequence
from tempfile import TemporaryDirectory

from core.model.library_patches import show_bias
from core.model.loaded_model import LoadedModel
from core.model.unsloth_start import import_unsloth
from core.problems import ModelError
from core.settings.sections import AdapterConfig


def attach_adapter(
    loaded: LoadedModel,
    config: AdapterConfig,
    use_gradient_checkpointing: str | bool,
    seed: int,
    token_ids: Sequence[int] | None = None,
) -> None:
    """Puts a fresh adapter on a pristine model. Raises ModelError when the model has no such layers.

    `token_ids` are the rows that train where the settings ask for single rows (`core.model.embedding_rows.rows_to_train`).
    """
    if config.trains_rows != (token_ids is not None):
        raise ValueError("token_ids are given if and only if single rows train")
    model, is_tied = loaded.model, loaded.report.tied_embeddings
    # Of a tied pair PEFT takes the head along by itself, and with the head alone it would come apart.
    layers = ["embed_tokens"] if is_tied else config.modules_to_save
    if token_ids is None:
        # Tied weights stay one tensor; without this, training both makes copies that drift apart.
        trained = {
            "modules_to_save": list(config.modules_to_save) or None,
            "ensure_weight_tying": bool(config.modules_to_save) and is_tied,
        }
    else:
        trained = {"trainable_token_indices": {name: list(token_ids) for name in layers}}
    # Unsloth's offloading writes the embeddings to a file below this name: for a path, into the model's own folder.
    place, model.config._name_or_path = model.config._name_or_path, "embeddings"
    try:
        # Windows deletes no file that is still mapped, as that of the offloaded embeddings is.
        with TemporaryDirectory(prefix="hearthtune-", ignore_cleanup_errors=True) as folder:
            loaded.model = import_unsloth().FastLanguageModel.get_peft_model(
                model,
                r=config.r,
                target_modules=list(config.target_modules),
                lora_alpha=config.lora_alpha,
                lora_dropout=config.lora_dropout,
                bias="none",
                use_rslora=config.use_rslora,
                **trained,
                use_gradient_checkpointing=use_gradient_checkpointing,
                random_state=seed,
                temporary_location=folder,
            )
    except ValueError as error:
        raise ModelError(f"The adapter does not fit this model: {str(error).splitlines()[0]:.300}.") from error
    finally:
        model.config._name_or_path = place
    show_bias(loaded.model)
    # The name, not the folder on this machine: a run can be moved and given away.
    loaded.model.peft_config["default"].base_model_name_or_path = loaded.report.name
    loaded.has_adapter = True
