"""Several adapters on one base: put on, taken off, and looked through one at a time. Knows nothing of runs or threads.

PEFT keeps them side by side under names of their own; the base's weights are there once.
"""

from contextlib import suppress
from pathlib import Path

from core.model.device_memory import is_out_of_memory
from core.model.embedding_row_copies import as_copies, give_copies, take_rows_out
from core.model.load import OTHER_SHAPES, adapter_files, has_other_shapes, not_finite
from core.model.loaded_model import LoadedModel
from core.problems import ModelError

FIRST = "default"  # PEFT's own name of the first adapter, and of the one that is trained


def put_on(loaded: LoadedModel, adapter_dir: Path, name: str) -> None:
    """Puts the adapter in that folder beside those that are there. Raises ModelError, and then it is not there.

    It is for looking, not for training: its weights get no gradients. When the first one on a base fails, the base is
    left half changed, and must be let go.
    """
    from peft import PeftModel

    was_bare, why = not loaded.has_adapter, ""
    try:
        with adapter_files(adapter_dir, Path(loaded.model.config._name_or_path), loaded.config) as folder:
            rows = take_rows_out(Path(folder))
            if was_bare:
                loaded.model = PeftModel.from_pretrained(loaded.model, folder, adapter_name=name, is_trainable=False)
                loaded.has_adapter = True
            else:
                as_copies(loaded)
                loaded.model.load_adapter(folder, adapter_name=name, is_trainable=False)
        give_copies(loaded, name, rows)
        _fill_gaps(loaded)
        loaded.model.peft_config[name].base_model_name_or_path = loaded.report.name
        if not_finite(loaded.model, f".{name}.") is not None:
            why = "is damaged: some of its weights are no numbers; take another copy"
    except ModelError:  # said before anything was begun
        raise
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
    except Exception as error:  # PEFT raises what it likes of a damaged file; each becomes a sentence, none is hidden
        if is_out_of_memory(error):
            why = "does not fit into memory beside what is there; take a pane out, or a smaller model"
        elif has_other_shapes(error):
            why = f"is damaged: {OTHER_SHAPES}; choose another, or train it again"
        else:
            why = "is damaged: a value in its files is none that PEFT can use; train it again"
    if why:
        if not was_bare:
            take_off(loaded, name)
        raise ModelError(f"The adapter in {adapter_dir} {why}.")


def _fill_gaps(loaded: LoadedModel) -> None:
    """Gives each adapter a copy of its own in every module that any of them trained in full.

    An adapter that did not train it uses the base's, which costs nothing; tied embeddings have one weight for both ends,
    which PEFT sees to for the first adapter only. Without this, passes of several rows and Unsloth's head on a CPU fail.
    """
    model = loaded.model
    wrapped = [module for module in model.modules() if type(module).__name__ == "ModulesToSaveWrapper"]
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    device = next(weight.device for key, weight in model.named_parameters() if "lora_" in key)
    for name in model.peft_config:
        for wrapper in wrapped:
            if name in wrapper.modules_to_save:
                if wrapper.modules_to_save[name] is not wrapper.original_module:
                    # Unsloth's offloading keeps the original elsewhere, and PEFT's copy of it begins there.
                    wrapper.modules_to_save[name].to(device)
                continue
            is_tied = (
                loaded.report.tied_embeddings and wrapper is head and name in getattr(embeddings, "modules_to_save", ())
            )
            if is_tied:
                wrapper.update(name, tied_module=embeddings.modules_to_save[name])
            else:
                wrapper.modules_to_save[name] = wrapper.original_module
                wrapper._adapters.add(name)
    model.set_adapter(model.active_adapters[0], inference_mode=True)


def take_off(loaded: LoadedModel, name: str) -> None:
    """Frees an adapter's memory; the base's stays. One that is not there, or not whole, is no fault.

    Not for the last one: PEFT's model has no way to be without any.
    """
    others = [other for other in loaded.model.peft_config if other != name]
    if name in loaded.model.active_adapters:  # PEFT forgets it in the trained copies without choosing another
        loaded.model.set_adapter(others[0], inference_mode=True)
    with suppress(ValueError):
        loaded.model.delete_adapter(name)
