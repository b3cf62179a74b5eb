"""The bare Unsloth script that `bench.overhead` measures us against: what a notebook does, and nothing else.

python -m bench.bare SETTINGS.yaml
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

# What the app does beside the trainer, or what is set here by hand.
NOT_THE_SCRIPTS = ("completion_only_loss", "eval_steps", "save_steps", "save_total_limit", "report_to", "sample_prompts",
                   "early_stopping_patience", "stop_at_loss")  # fmt: skip


def main(path: str) -> None:
    settings = yaml.safe_load(Path(path).read_text())
    data, adapter, training = settings["data"], settings["adapter"], settings["training"]
    checkpointing = training.pop("use_gradient_checkpointing")
    for name in NOT_THE_SCRIPTS:
        del training[name]
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(**settings["model"])
    adapter.pop("continue_from", None)
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        **adapter,
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

    rows = datasets.load_dataset("json", data_files=data["path"], split="train")
    trainer = unsloth.UnslothTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows.map(tokenise, remove_columns=rows.column_names),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        args=unsloth.UnslothTrainingArguments(
            **training,
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


if __name__ == "__main__":
    main(sys.argv[1])
