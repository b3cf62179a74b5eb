"""An adapter as a folder that plain transformers and PEFT load, on any machine."""

import json
import shutil
from pathlib import Path

from core.export.merged_folder import copy_tokenizer
from core.export.source import Source
from core.model.adapter_kind import SETTINGS, WEIGHTS


def write_adapter_folder(folder: Path, source: Source) -> None:
    """Fills `folder` with the adapter, bit for bit, its settings and the tokenizer. Raises OSError.

    It names its base if that is on Hugging Face; a folder's path would mean nothing on another machine. The trained
    embeddings of a tied model are in it twice, because PEFT reads both (0.21.2, set_peft_model_state_dict).
    """
    settings = source.settings | {
        "base_model_name_or_path": source.base_on_hub,
        "revision": source.config.model.revision if source.base_on_hub else None,
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    copy_tokenizer(source, folder)
    shutil.copyfile(source.weights, folder / WEIGHTS)
