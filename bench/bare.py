"""The bare Unsloth script that `bench.overhead` compares our run with: what a notebook does, and nothing else.

    python -m bench.bare SETTINGS.yaml

It imports nothing of ours, takes a run's settings, trains, and prints its speed and its peak memory as JSON.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ.update(UNSLOTH_DISABLE_STATISTICS="1", UNSLOTH_AUTO_INSTALL="0", UNSLOTH_DATASET_NUM_PROC="0")

import unsloth  # isort: skip  first, because it patches the others
import datasets
import torch
import yaml
from transformers import DataCollatorForSeq2Seq

# The settings that Unsloth takes under the same names. The rest of a run's settings are the app's own work.
MODEL = ("model_name", "max_seq_length", "load_in_4bit")
ADAPTER = ("r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules", "modules_to_save")
TRAINING = (
    "learning_rate",
    "embedding_learning_rate",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "warmup_steps",
    "lr_scheduler_type",
    "optim",
    "weight_decay",
    "seed",
)


def main(path: str) -> None:
    settings = yaml.safe_load(Path(path).read_text())
    training, checkpointing = settings["training"], settings["training"]["use_gradient_checkpointing"]
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(**_chosen(settings["model"], MODEL), dtype=None)
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        **_chosen(settings["adapter"], ADAPTER),
        use_gradient_checkpointing=checkpointing,
        random_state=training["seed"],
        ensure_weight_tying=True,
    )

    def tokenise(row: dict) -> dict:
        chat = [{"role": "user", "content": row["instruction"]}]
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(row["output"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        return {"input_ids": asked + answer, "labels": [-100] * len(asked) + answer}

    rows = datasets.load_dataset("json", data_files=settings["data"]["path"], split="train")
    trainer = unsloth.UnslothTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows.map(tokenise, remove_columns=rows.column_names),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        args=unsloth.UnslothTrainingArguments(
            **_chosen(training, TRAINING),
            max_length=settings["model"]["max_seq_length"],
            bf16=model.dtype == torch.bfloat16,
            gradient_checkpointing=bool(checkpointing),
            output_dir="unused",
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        ),
    )
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    steps = trainer.state.global_step
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps({"steps_per_s": steps / seconds, "peak_gib": peak}))


def _chosen(settings: dict, names: tuple[str, ...]) -> dict:
    return {name: settings[name] for name in names}


if __name__ == "__main__":
    main(sys.argv[1])
