"""The scripts that our run is compared with: a notebook's with Unsloth, and one with TRL, PEFT and bitsandbytes.

Each takes the settings of our run, calls `begin` right before training and `tick` after each step. They do what such
scripts do and nothing else; only rows and settings are the same.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from core.settings.run_config import RunConfig

# The fields of TrainingConfig that the libraries take under the same names.
PASSED_ON = (
    "learning_rate",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_steps",
    "warmup_steps",
    "lr_scheduler_type",
    "optim",
    "weight_decay",
    "seed",
)


def train_with_unsloth(config: RunConfig, tick: Callable[[], None], begin: Callable[[], None]) -> None:
    from core.model.unsloth_start import import_unsloth

    unsloth = import_unsloth()  # the plain package; only its network access is switched off
    import torch
    from transformers import DataCollatorForSeq2Seq

    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        model_name=config.model.model_name, max_seq_length=config.model.max_seq_length, load_in_4bit=True, dtype=None
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        **_adapter(config),
        use_gradient_checkpointing=config.training.use_gradient_checkpointing,
        random_state=config.training.seed,
    )
    trainer = unsloth.UnslothTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=_rows(config, tokenizer),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        args=unsloth.UnslothTrainingArguments(
            **_training(config),
            max_length=config.model.max_seq_length,
            bf16=model.dtype == torch.bfloat16,
            dataset_num_proc=None,
        ),
        callbacks=[_ticking(tick)],
    )
    begin()
    trainer.train()


def train_with_trl(config: RunConfig, tick: Callable[[], None], begin: Callable[[], None]) -> None:
    """Raises SystemExit in a process that has imported unsloth, which patches these libraries."""
    if "unsloth" in sys.modules:
        raise SystemExit("TRL must be measured without Unsloth, which is imported in this process.")
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq
    from trl import SFTConfig, SFTTrainer

    has_card = torch.cuda.is_available()
    name = config.model.model_name
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(
        name, dtype=torch.bfloat16 if has_card else torch.float32, device_map={"": "cuda:0" if has_card else "cpu"}
    )
    settings = _training(config)
    if not has_card:
        settings["optim"] = "adamw_torch"  # the 8-bit one needs a card
    trainer = (SFTTrainer if has_card else _without_kernels(SFTTrainer))(
        model=model,
        processing_class=tokenizer,
        train_dataset=_rows(config, tokenizer),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        peft_config=LoraConfig(**_adapter(config), task_type="CAUSAL_LM"),
        args=SFTConfig(
            **settings,
            max_length=config.model.max_seq_length,
            bf16=has_card,
            gradient_checkpointing=bool(config.training.use_gradient_checkpointing),
        ),
        callbacks=[_ticking(tick)],
    )
    begin()
    trainer.train()


def _without_kernels(trainer: type) -> type:
    """Makes the script run without a card: TRL's own loss is a GPU kernel."""
    from transformers import Trainer

    return type("OnAProcessor", (trainer,), {"compute_loss": Trainer.compute_loss})


def _adapter(config: RunConfig) -> dict:
    names = ("r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules")
    return {name: getattr(config.adapter, name) for name in names}


def _training(config: RunConfig) -> dict:
    return {name: getattr(config.training, name) for name in PASSED_ON} | {
        "output_dir": "build/bench-gpu/unused",
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _rows(config: RunConfig, tokenizer):
    import datasets

    length = config.model.max_seq_length
    texts = [json.loads(line)["text"] for line in Path(config.data.path).read_text(encoding="utf-8").splitlines()]
    tokens = [tokenizer(text, truncation=True, max_length=length)["input_ids"] for text in texts]
    return datasets.Dataset.from_dict({"input_ids": tokens, "labels": tokens})


def _ticking(tick: Callable[[], None]):
    from transformers import TrainerCallback

    class Ticking(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            tick()

    return Ticking()
