"""Several adapters on one base: put on, taken off, and used one at a time.

PEFT keeps them next to each other under names of their own; the base's weights are there once.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.model.adapter_files import NOT_FINITE, OTHER_SHAPES, adapter_files
from core.model.device_memory import is_out_of_memory
from core.model.embedding_row_copies import as_copies, give_copies, take_rows_out
from core.model.library_patches.model_parts import folder_of
from core.model.library_patches.peft_parts import has_mismatched_adapter, share_original, whole_copies
from core.model.load import not_finite
from core.model.loaded_model import LoadedModel
from core.problems import ModelError

FIRST_ADAPTER = "default"  # PEFT's own name for the first adapter, and for the one that is trained


def put_on(loaded: LoadedModel, adapter_dir: Path, name: str) -> None:
    """Adds the adapter in that folder under that name. Raises ModelError, and then it has not been added.

    It can answer but not be trained: its weights get no gradients. When the first adapter on a base fails, the base is
    left half changed, and must not be used any more.
    """
    was_bare = not loaded.has_adapter
    with (
        _errors_as_sentences(adapter_dir),
        adapter_files(adapter_dir, folder_of(loaded.model), loaded.config) as folder,
    ):
        try:
            rows = take_rows_out(folder)
            _load(loaded, folder, name)
            give_copies(loaded, name, rows)
            _fill_gaps(loaded)
            if not_finite(loaded.model, f".{name}.") is not None:
                raise ModelError(NOT_FINITE, folder=str(adapter_dir))
        except Exception:
            if not was_bare:
                take_off(loaded, name)
            raise


def _load(loaded: LoadedModel, folder: Path, name: str) -> None:
    from peft import PeftModel

    if loaded.has_adapter:
        as_copies(loaded)
        loaded.model.load_adapter(str(folder), adapter_name=name, is_trainable=False)
    else:
        loaded.model = PeftModel.from_pretrained(loaded.model, str(folder), adapter_name=name, is_trainable=False)
        loaded.has_adapter = True


@contextmanager
def _errors_as_sentences(adapter_dir: Path) -> Iterator[None]:
    """PEFT raises all kinds of errors about a damaged file; each becomes a ModelError, and none is hidden."""
    try:
        yield
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(
            "The adapter in {folder} cannot be read: {reason}.",
            folder=str(adapter_dir),
            reason=error.strerror or str(error),
        ) from None
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(
                "The adapter in {folder} does not fit into memory next to what is loaded; remove a pane, or use a "
                "smaller model.",
                folder=str(adapter_dir),
            ) from None
        if has_mismatched_adapter(error):
            raise ModelError(OTHER_SHAPES, folder=str(adapter_dir)) from None
        raise ModelError(
            "The adapter in {folder} is damaged: one of its files contains an invalid value; train it again.",
            folder=str(adapter_dir),
        ) from error


def _fill_gaps(loaded: LoadedModel) -> None:
    """Gives every adapter a copy of each layer that any of them trained in full.

    An adapter that did not train the layer gets the base's own, which costs no memory. Tied embeddings share one
    weight, which PEFT ensures for the first adapter only. Without this, passes with a row per adapter fail, and so
    does Unsloth's head on a CPU.
    """
    model = loaded.model
    wrapped = [wrapper for _, wrapper in whole_copies(model)]
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    device = next(weight.device for key, weight in model.named_parameters() if "lora_" in key)
    for name in model.peft_config:
        for wrapper in wrapped:
            if name in wrapper.modules_to_save:
                if wrapper.modules_to_save[name] is not wrapper.original_module:
                    # Unsloth's offloading keeps the original on another device, and PEFT makes its copy there.
                    wrapper.modules_to_save[name].to(device)
                continue
            is_tied = (
                loaded.report.tied_embeddings and wrapper is head and name in getattr(embeddings, "modules_to_save", ())
            )
            if is_tied:
                wrapper.update(name, tied_module=embeddings.modules_to_save[name])
            else:
                share_original(wrapper, name)
    model.set_adapter(model.active_adapters[0], inference_mode=True)


def take_off(loaded: LoadedModel, name: str) -> None:
    """Removes an adapter and frees its memory. Does nothing for a name that is not there.

    Never remove the last one: PEFT's model needs at least one adapter.
    """
    others = [other for other in loaded.model.peft_config if other != name]
    if name in loaded.model.active_adapters:  # PEFT removes trained copies without making another active
        loaded.model.set_adapter(others[0], inference_mode=True)
    with suppress(ValueError):
        loaded.model.delete_adapter(name)
