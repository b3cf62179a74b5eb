"""A new adapter on a base, ready to be trained."""

from collections.abc import Sequence
from tempfile import TemporaryDirectory

from core.families import layers_for
from core.model.library_patches.model_parts import named
from core.model.library_patches.peft_parts import has_no_such_layers, show_bias
from core.model.loaded_model import LoadedModel
from core.model.unsloth_start import import_unsloth
from core.problems import ModelError, first_line, mark
from core.settings.sections import AdapterConfig

NO_SUCH_LAYERS = mark(
    "{model} ({kind:.40}) has none of the layers to adapt ({layers}), which have other names in models of its kind: "
    "choose a model that is built like a Llama."
)


def attach_adapter(
    loaded: LoadedModel,
    config: AdapterConfig,
    use_gradient_checkpointing: str | bool,
    seed: int,
    token_ids: Sequence[int] | None = None,
) -> None:
    """Adds a new adapter to a model that has none. Raises ModelError when the model does not have its layers.

    `token_ids` are the rows that train if the settings ask for single rows (`core.model.embedding_rows.rows_to_train`);
    ValueError if they are missing then, or given otherwise.
    """
    if config.trains_rows != (token_ids is not None):
        raise ValueError("token_ids are given if and only if single rows train")
    model, is_tied = loaded.model, loaded.report.tied_embeddings
    # PEFT trains the head of a tied pair along with embed_tokens; naming the head alone would untie them.
    layers = ["embed_tokens"] if is_tied else config.modules_to_save
    if token_ids is None:
        # Without ensure_weight_tying, tied weights would become two copies that drift apart.
        trained = {
            "modules_to_save": list(config.modules_to_save) or None,
            "ensure_weight_tying": bool(config.modules_to_save) and is_tied,
        }
    else:
        trained = {"trainable_token_indices": {name: list(token_ids) for name in layers}}
    try:
        # Windows does not delete a file that is still mapped, such as that of the offloaded embeddings.
        with TemporaryDirectory(prefix="hearthtune-", ignore_cleanup_errors=True) as folder, named(model, "embeddings"):
            loaded.model = import_unsloth().FastLanguageModel.get_peft_model(
                model,
                r=config.r,
                target_modules=layers_for(model.config.model_type, config.target_modules),
                lora_alpha=config.lora_alpha,
                lora_dropout=config.lora_dropout,
                bias="none",
                use_rslora=config.use_rslora,
                use_dora=config.use_dora,
                **trained,
                use_gradient_checkpointing=use_gradient_checkpointing,
                random_state=seed,
                temporary_location=folder,
            )
    except ValueError as error:
        if has_no_such_layers(error):
            raise ModelError(
                NO_SUCH_LAYERS,
                model=loaded.report.name,
                kind=model.config.model_type,
                layers=", ".join(config.target_modules),
            ) from error
        raise ModelError("The adapter does not fit this model: {reason}.", reason=first_line(error)) from error
    show_bias(loaded.model)
    loaded.has_adapter = True
