from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TargetModule = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


ALL_TARGET_MODULES: list[str] = list(TargetModule.__args__)


class Part(BaseModel):
    """One of the four parts of a RunConfig: unknown names are refused, values are checked when built."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class ModelConfig(Part):
    """Which model is loaded, and how: arguments of `FastLanguageModel.from_pretrained`."""

    model_name: str = Field(
        "unsloth/Llama-3.2-1B-Instruct-bnb-4bit",
        title="Model",
        min_length=1,
        description="A Llama from the list, any Hugging Face name (owner/name), or a folder on this machine.",
    )
    load_in_4bit: bool = Field(
        True, title="4-bit weights", description="About a quarter of the memory of 16-bit, at a small loss of quality."
    )
    max_seq_length: int = Field(
        2048, ge=16, le=131072, title="Length (tokens)", description="Longer rows are cut here; memory grows with it."
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", title="Precision", description="Of what is not 4-bit; auto takes bfloat16 where the hardware has it."
    )
    revision: str | None = Field(
        None, title="Revision", description="Branch, tag or commit of a Hugging Face model; empty for the newest."
    )
    trust_remote_code: str | None = Field(
        None,
        title="Run this model's own code",
        description="The exact name of a model that cannot be loaded without code of its own; empty: no code is run.",
    )

    @property
    def base(self) -> tuple[str | None | bool, ...]:
        """What decides which weights are loaded, and in what precision."""
        return self.model_name, self.revision, self.load_in_4bit, self.dtype

    @model_validator(mode="after")
    def _code_of_this_model_alone(self) -> "ModelConfig":
        # A name and not a switch, so that it cannot stay on for the next model.
        if self.trust_remote_code not in (None, self.model_name):
            raise ValueError(f"code is run of the model that is loaded, {self.model_name}, or of none")
        return self


class DataConfig(Part):
    """Which rows are learned from, and what the model sees of them."""

    path: str = Field(
        "presets/data/yoda.jsonl",
        title="Rows from",
        min_length=1,
        description="Files or folders of this machine, one a line, or the Hugging Face name of a data set.",
    )
    name: str | None = Field(
        None,
        title="Configuration",
        description="Which configuration of a Hugging Face data set; empty for its default.",
    )
    split: str = Field(
        "train", title="Split", min_length=1, description="Of a Hugging Face data set, for example train[:1%]."
    )
    revision: str | None = Field(
        None, title="Revision", description="Branch, tag or commit of a Hugging Face data set; empty for the newest."
    )
    header: Literal["auto", "yes", "no"] = Field(
        "auto", title="First row names the columns", description="Of CSV and TSV files; auto judges by the first rows."
    )
    text_rows: Literal["auto", "line", "paragraph", "file"] = Field(
        "auto",
        title="A row of a text file is",
        description="A line, a paragraph (up to a blank line), or the whole file, cut where the length is full.",
    )
    instruction_column: str | None = Field(
        None, title="Instruction", description="The column that asks; empty: found by its name."
    )
    input_column: str | None = Field(None, title="Input", description="A column that stands below the instruction.")
    answer_column: str | None = Field(None, title="Answer", description="The column that is learned as the answer.")
    system_column: str | None = Field(None, title="System", description="A column with the system prompt of each row.")
    text_column: str | None = Field(
        None, title="Text", description="A column that is learned whole, in place of question and answer."
    )
    prompt_template: str = Field(
        "chat",
        title="Prompt template",
        min_length=1,
        description="chat (the model's own template), alpaca, alpaca_korean, or a text with {column} fields, typed here.",
    )
    response_starts_after: str | None = Field(
        None,
        title="Response starts after",
        description="Words in each answer, such as Price is $: only what follows them is trained on.",
    )
    drop_duplicates: bool = Field(
        False, title="Leave out duplicates", description="Rows whose text is the same as that of an earlier row."
    )
    allow_left_out: bool = Field(
        False,
        title="Train without the rows left out",
        description="Needed when more than 10% of the rows are left out.",
    )
    validation_share: float = Field(
        0.1, ge=0.0, le=0.5, title="Validation share", description="Rows kept back from training, to check with."
    )
    validation_path: str | None = Field(
        None, title="Validation rows from", description="Files of their own to check with, in place of a share."
    )
    seed: int = Field(3407, ge=0, le=2**32 - 1, title="Split seed", description="Decides which rows are kept back.")

    @field_validator("path", "validation_path", mode="before")
    @classmethod
    def _one_a_line(cls, value: Any) -> Any:
        # In YAML and on the command line a list is the natural way to name several files.
        if isinstance(value, str) and not value.strip():
            raise ValueError("name files, a folder or a data set")
        is_list = isinstance(value, list) and all(isinstance(part, str) for part in value)
        return "\n".join(value) if is_list else value


class AdapterConfig(Part):
    """What is trained beside the frozen weights: arguments of `FastLanguageModel.get_peft_model`."""

    r: int = Field(16, ge=1, le=512, title="Rank", description="Size of the adapter: more learns more and takes more.")
    lora_alpha: int = Field(
        32, ge=1, le=2048, title="Alpha", description="Strength of the adapter; twice the rank is usual."
    )
    use_rslora: bool = Field(
        True,
        title="Rank-stabilised (rsLoRA)",
        description="Scales by alpha / √rank in place of alpha / rank, so that high ranks keep learning.",
    )
    lora_dropout: float = Field(
        0.0, ge=0.0, le=0.9, title="Dropout", description="Share of the adapter's inputs dropped at random in training."
    )
    target_modules: list[TargetModule] = Field(
        ALL_TARGET_MODULES, min_length=1, title="Adapted layers", description="All seven learn best; fewer take less."
    )
    modules_to_save: list[Literal["embed_tokens", "lm_head"]] = Field(
        ["embed_tokens", "lm_head"],
        title="Fully trained layers",
        description="Embeddings and output head: for new words, languages and styles; they cost much memory.",
    )
    trainable_tokens: Literal["all", "new", "seen"] = Field(
        "all",
        title="Rows of embeddings that train",
        description="All; or, without a GPU, only those of tokens the base never learned (new) or your rows hold (seen): smaller.",
    )
    continue_from: str | None = Field(
        None,
        title="Continue from",
        description="A run (its id, folder, or the preset it came from) whose adapter is trained further.",
    )

    @field_validator("target_modules", "modules_to_save")
    @classmethod
    def _without_repeats(cls, names: list[str]) -> list[str]:
        return list(dict.fromkeys(names))

    @property
    def trains_rows(self) -> bool:
        """Whether single rows of the embeddings train, and not the whole matrices."""
        return bool(self.modules_to_save) and self.trainable_tokens != "all"


class TrainingConfig(Part):
    """How it is trained: arguments of `UnslothTrainingArguments`, and of Unsloth's gradient checkpointing."""

    learning_rate: float = Field(
        2e-4,
        gt=0,
        le=1.0,
        title="Learning rate",
        description="Of the adapter: too high forgets, too low learns nothing.",
    )
    embedding_learning_rate: float = Field(
        5e-5,
        gt=0,
        le=1.0,
        title="Embedding learning rate",
        description="Of the fully trained layers: 2 to 10 times lower.",
    )
    per_device_train_batch_size: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        2,
        title="Batch size",
        description="Rows at once: memory grows with them. auto: as many as fit, of the rows that accumulation says.",
    )
    gradient_accumulation_steps: int = Field(
        4, ge=1, le=1024, title="Accumulation", description="Micro-batches in one step: a larger batch, no more memory."
    )
    auto_batch_headroom: float = Field(
        0.1, ge=0, lt=1, title="Headroom", description="Share of the memory that auto batch leaves free."
    )
    num_train_epochs: float = Field(
        1.0, gt=0, le=1000, title="Epochs", description="How often all rows are seen, when steps is -1."
    )
    max_steps: int = Field(60, ge=-1, le=10_000_000, title="Steps", description="Optimizer steps; -1 goes by epochs.")
    warmup_steps: float = Field(
        0.1,
        ge=0,
        le=100_000,
        title="Warm-up",
        description="Steps in which the rate rises; below 1 it is a share of all.",
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = Field(
        "linear", title="Schedule", description="How the learning rate falls after the warm-up."
    )
    optim: Literal[
        "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor", "sgd"
    ] = Field(
        "adamw_8bit", title="Optimizer", description="adamw_8bit takes least memory; without a GPU it is replaced."
    )
    weight_decay: float = Field(
        0.01, ge=0, le=1.0, title="Weight decay", description="Pulls trained weights towards zero; keeps them small."
    )
    seed: int = Field(
        3407, ge=0, le=2**32 - 1, title="Seed", description="Order of rows and first values: same seed, same run."
    )
    use_gradient_checkpointing: Literal["unsloth", True, False] = Field(
        "unsloth",
        title="Gradient checkpointing",
        description="Saves memory by computing twice; unsloth saves most, off is fastest.",
    )
    completion_only_loss: bool = Field(
        True, title="Learn from answers only", description="The model is not trained to repeat the questions."
    )
    packing: bool = Field(
        False, title="Packing", description="Fills each sequence with several rows: faster with short rows; GPU only."
    )
    eval_steps: int = Field(
        20,
        ge=0,
        le=1_000_000,
        title="Check every (steps)",
        description="Validation loss in between; 0: only at the end.",
    )
    save_steps: int = Field(
        100,
        ge=0,
        le=1_000_000,
        title="Checkpoint every (steps)",
        description="A run can be resumed from its last one; one is also saved at each best check. 0: none.",
    )
    save_total_limit: int = Field(
        2,
        ge=1,
        le=1000,
        title="Checkpoints kept",
        description="The newest ones; the one with the best check stays besides.",
    )
    early_stopping_patience: int = Field(
        0,
        ge=0,
        le=10_000,
        title="Early stopping after (checks)",
        description="Ends the run when so many checks bring no lower validation loss, and goes back to the best. 0: never.",
    )
    stop_at_loss: float | None = Field(
        None, gt=0, le=1000, title="Stop at loss", description="Ends the run at the first step whose loss is no higher."
    )
    sample_prompts: list[str] = Field(
        [],
        max_length=20,
        title="Prompts to answer during training",
        description="One a line: answered by the base once, and by the tuned model at each check.",
    )
    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = Field(
        "none",
        title="Tracker",
        description="Sends the figures to a tracker that is installed beside; wandb sends them off this machine.",
    )

    @field_validator("per_device_train_batch_size", mode="before")
    @classmethod
    def _auto_in_any_case(cls, value: Any) -> Any:
        text = value.strip() if isinstance(value, str) else ""
        if text.lower() == "auto":
            return "auto"
        if value is None or isinstance(value, str) and not text.removeprefix("-").isdecimal():
            raise ValueError("give a number from 1 to 1,024, or auto")
        return value

    @field_validator("sample_prompts", mode="before")
    @classmethod
    def _without_empty_lines(cls, value: Any) -> Any:
        lines = value.splitlines() if isinstance(value, str) else value
        is_list = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
        return [line.strip() for line in lines if line.strip()] if is_list else lines

    @property
    def effective_batch(self) -> int:
        """Rows of one optimizer step. With an automatic batch the accumulation says all of them, to be shared out."""
        batch = self.per_device_train_batch_size
        return self.gradient_accumulation_steps * (1 if batch == "auto" else batch)

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, value: int) -> int:
        if value == 0:
            raise ValueError("0 steps train nothing; give at least 1, or -1 to go by epochs")
        return value
