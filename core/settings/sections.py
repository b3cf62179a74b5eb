"""The sections of a RunConfig: model, data and adapter. The fourth is in `core.settings.training_section`.

Titles and descriptions are what people read on the page; a setting is shown where the form adds it. Field names are the
libraries' own argument names, so that values are passed on without translation.
"""

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from core.families import LAYER_NAMES, LLAMA_LAYERS
from core.problems import ConfigError
from core.settings.part import Part

TargetModule = Literal[*LAYER_NAMES]
ALL_TARGET_MODULES = list(LLAMA_LAYERS)  # in other models, the layers that do the same (`core.families.layers_for`)
PATHS = ("path", "validation_path")  # fields of DataConfig that take one path per line, or a list
_FILLED_IN = re.compile(r"([\w.]+)\s*=\s*(.*)")


class ModelConfig(Part):
    """Which model is loaded, and how: arguments of `FastLanguageModel.from_pretrained`."""

    model_name: str = Field(
        "unsloth/Llama-3.2-1B-Instruct-bnb-4bit",
        title="Model",
        min_length=1,
        description="A model from the list, any Hugging Face name (owner/name), or a folder on this machine.",
    )
    load_in_4bit: bool = Field(
        True,
        title="4-bit weights",
        description="Uses about a quarter of the memory of 16-bit weights, with a small loss of quality.",
    )
    max_seq_length: int = Field(
        2048,
        ge=16,
        le=131072,
        title="Maximum length (tokens)",
        description="Longer rows are cut off here. Memory grows with it.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        title="Precision",
        description="For everything that is not 4-bit. auto uses bfloat16 where the hardware supports it.",
    )
    revision: str | None = Field(
        None,
        title="Revision",
        description="Branch, tag or commit of a Hugging Face model. Leave empty for the latest.",
    )
    trust_remote_code: str | None = Field(
        None,
        title="Run this model's own code",
        description="The exact name of a model that needs its own code to load. Leave empty to run none.",
    )

    chat_template: Literal["", "chatml", "llama-3", "zephyr"] = Field(
        "",
        title="Chat template",
        description="For a model that has none, or instead of its own. Its new tokens must be trained: see Fully "
        "trained layers.",
    )

    @property
    def base(self) -> tuple[str | None | bool, ...]:
        """What decides which weights are loaded, in which precision, and which tokens the tokenizer has for them."""
        named = (self.chat_template,) if self.chat_template else ()  # older records do not have it
        return self.model_name, self.revision, self.load_in_4bit, self.dtype, *named

    @field_validator("trust_remote_code")
    @classmethod
    def _only_this_models_code(cls, value: str | None, others: ValidationInfo) -> str | None:
        # A name rather than a switch, so that it does not stay on for the next model.
        name = others.data.get("model_name")  # absent if it cannot be used itself
        if name is not None and value not in (None, name):
            raise ConfigError("only the code of the model being loaded, {name}, can be run", name=name)
        return value


class DataConfig(Part):
    """Which rows to train on, and what the model sees of them."""

    path: str = Field(
        "presets/data/yoda.jsonl",
        title="Dataset",
        min_length=1,
        description="Files or folders on this machine, one per line, or the name of a Hugging Face dataset.",
    )
    name: str | None = Field(
        None,
        title="Configuration",
        description="Which configuration of a Hugging Face dataset to use. Leave empty for the default.",
    )
    split: str = Field(
        "train",
        title="Split",
        min_length=1,
        description="Which split of a Hugging Face dataset to use, for example train[:1%].",
    )
    revision: str | None = Field(
        None,
        title="Revision",
        description="Branch, tag or commit of a Hugging Face dataset. Leave empty for the latest.",
    )
    header: Literal["auto", "yes", "no"] = Field(
        "auto",
        title="Header row",
        description="Whether the first row of a CSV or TSV file contains the column names.",
    )
    text_rows: Literal["auto", "line", "paragraph", "file"] = Field(
        "auto",
        title="Split text files by",
        description="A row is a line, a paragraph (up to a blank line), or the whole file, cut at the maximum length.",
    )
    instruction_column: str | None = Field(
        None,
        title="Instruction",
        description="The column with the question or task. Leave empty to detect it by name.",
    )
    input_column: str | None = Field(
        None, title="Input", description="A column whose text is added below the instruction."
    )
    answer_column: str | None = Field(
        None, title="Answer", description="The column with the answer that the model learns to give."
    )
    system_column: str | None = Field(None, title="System", description="A column with a system prompt for each row.")
    text_column: str | None = Field(
        None, title="Text", description="A column of plain text to train on, instead of questions and answers."
    )
    prompt_template: str = Field(
        "chat",
        title="Prompt template",
        min_length=1,
        description="chat (the model's own template), alpaca, alpaca_korean, or your own text with {column} fields.",
    )
    response_starts_after: str | None = Field(
        None,
        title="Response starts after",
        description="A phrase in each answer, such as Price is $. Only what follows it is trained on.",
    )
    fill_in: list[str] = Field(
        [],
        max_length=100,
        title="Fill in placeholders",
        description="What to put in place of placeholders such as {{name}}: name = value, one per line.",
    )
    drop_duplicates: bool = Field(
        False, title="Leave out duplicates", description="Leaves out rows with the same text as an earlier row."
    )
    drop_long_rows: bool = Field(
        False,
        title="Leave out long rows",
        description="Leaves out rows that are longer than the maximum length, instead of cutting off their end.",
    )
    allow_left_out: bool = Field(
        False,
        title="Train without the rows left out",
        description="Needed when more than 10% of the rows are left out.",
    )
    validation_share: float = Field(
        0.1,
        ge=0.0,
        le=0.5,
        title="Validation share",
        description="Share of the rows held out from training to compute the validation loss.",
    )
    validation_path: str | None = Field(
        None, title="Validation dataset", description="Files to validate on, instead of a share of the rows."
    )
    seed: int = Field(
        3407,
        ge=0,
        le=2**32 - 1,
        title="Split seed",
        description="Decides which rows are used for validation.",
    )

    @field_validator(*PATHS, mode="before")
    @classmethod
    def _one_per_line(cls, value: Any) -> Any:
        # In YAML and on the command line a list is the natural way to name several files.
        if isinstance(value, str) and not value.strip():
            raise ConfigError("name files, a folder or a dataset")
        is_list = isinstance(value, list) and all(isinstance(part, str) for part in value)
        return "\n".join(value) if is_list else value

    @field_validator("fill_in", mode="before")
    @classmethod
    def _names_and_values(cls, value: Any) -> Any:
        lines = value.splitlines() if isinstance(value, str) else value
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            return value
        lines = [line.strip() for line in lines if line.strip()]
        if wrong := next((line for line in lines if not _FILLED_IN.fullmatch(line)), None):
            raise ConfigError("write name = value, not {line:.40}", line=wrong)
        return lines

    @property
    def words_for_placeholders(self) -> dict[str, str]:
        """What is filled in, by the name of the placeholder; of two lines with a name, the last counts."""
        return {found[1]: found[2] for line in self.fill_in if (found := _FILLED_IN.fullmatch(line))}


class AdapterConfig(Part):
    """What is trained in addition to the frozen weights: arguments of `FastLanguageModel.get_peft_model`."""

    r: int = Field(
        16,
        ge=1,
        le=512,
        title="Rank",
        description="Size of the adapter. Higher learns more and uses more memory.",
    )
    lora_alpha: int = Field(
        32, ge=1, le=2048, title="Alpha", description="Strength of the adapter. Twice the rank is usual."
    )
    use_rslora: bool = Field(
        True,
        title="Rank-stabilized (rsLoRA)",
        description="Scales by alpha / √rank instead of alpha / rank, so that high ranks keep learning.",
    )
    use_dora: bool = Field(
        False,
        title="DoRA",
        description="Trains the magnitude and the direction of the weights separately. Can learn more, but is slower.",
    )
    lora_dropout: float = Field(
        0.0,
        ge=0.0,
        le=0.9,
        title="Dropout",
        description="Share of the adapter's inputs that is randomly set to zero during training.",
    )
    target_modules: list[TargetModule] = Field(
        ALL_TARGET_MODULES,
        min_length=1,
        title="Adapted layers",
        description="Adapting all of them usually works best. Fewer use less memory.",
    )
    modules_to_save: list[Literal["embed_tokens", "lm_head"]] = Field(
        ["embed_tokens", "lm_head"],
        title="Fully trained layers",
        description="Embeddings and output head, for new words, languages and styles. They use a lot of memory.",
    )
    trainable_tokens: Literal["all", "new", "seen"] = Field(
        "all",
        title="Embedding rows to train",
        description="For a smaller adapter: only tokens that are new to the base, or those in your rows. Not on a GPU.",
    )
    continue_from: str | None = Field(
        None,
        title="Continue from",
        description="The adapter to train further: a run's name, id or folder, its preset, or an adapter's folder.",
    )

    @field_validator("target_modules", "modules_to_save")
    @classmethod
    def _without_repeats(cls, names: list[str]) -> list[str]:
        return list(dict.fromkeys(names))

    @property
    def trains_rows(self) -> bool:
        """Whether only some rows of the embeddings train, rather than the whole matrices."""
        return bool(self.modules_to_save) and self.trainable_tokens != "all"
