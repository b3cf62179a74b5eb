"""Trains a LoRA adapter on the rows beside this file, as the app that wrote it did, but without it.

    uv run train.py                                   everything it needs is installed first, into a cache
    torchrun --nproc_per_node 2 train.py              on several graphics cards
    accelerate launch --num_processes 2 train.py      the same

On the same kind of machine it gives the same adapter, byte for byte. The settings are below; the options change some.
"""

import argparse
import hashlib
import os
from pathlib import Path

SETTINGS: dict = {}  # filled in by the export

os.environ |= {"UNSLOTH_DISABLE_STATISTICS": "1", "UNSLOTH_AUTO_INSTALL": "0", "UNSLOTH_DATASET_NUM_PROC": "0"}


def arguments() -> argparse.Namespace:
    here, training = Path(__file__).resolve().parent, SETTINGS["training"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=SETTINGS["model"]["model_name"], help="the base model: a name or a folder")
    parser.add_argument("--rows", type=Path, default=here / "rows.parquet")
    parser.add_argument("--out", type=Path, default=here / "adapter")
    parser.add_argument("--steps", type=int, default=training["max_steps"], help="optimizer steps; -1 for whole epochs")
    parser.add_argument("--batch", type=int, default=training["per_device_train_batch_size"], help="rows per pass")
    parser.add_argument(
        "--accumulation",
        type=int,
        default=training["gradient_accumulation_steps"],
        help="passes per step; with several processes, of all together",
    )
    return parser.parse_args()


def read_rows(path: Path):
    """The rows as token ids and labels. Ends the program if they are not the ones that the settings are for."""
    import datasets

    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SETTINGS["rows_sha256"]:
        raise SystemExit(f"{path} is not the file of rows that was exported with this script.")
    return datasets.Dataset.from_parquet(str(path))


def load(chosen: argparse.Namespace):
    """(Unsloth, model with a new adapter, tokenizer)."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("UNSLOTH_FORCE_CPU", "1")
    import unsloth

    model_settings, adapter = SETTINGS["model"], SETTINGS["adapter"]
    place = {"device_map": {"": int(os.environ["LOCAL_RANK"])}} if processes() > 1 and torch.cuda.is_available() else {}
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        model_name=chosen.base,
        max_seq_length=model_settings["max_seq_length"],
        dtype=None if model_settings["dtype"] == "auto" else getattr(torch, model_settings["dtype"]),
        load_in_4bit=model_settings["load_in_4bit"],
        revision=model_settings["revision"] or "main",
        use_exact_model_name=True,
        use_gradient_checkpointing=SETTINGS["checkpointing"],
        **place,
    )
    if SETTINGS["tokenizer"]:  # with another chat template than the model's own
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(chosen.rows.parent / SETTINGS["tokenizer"])
    tokenizer.padding_side, tokenizer.pad_token = "right", SETTINGS["pad_token"]
    model.config._name_or_path = model.name_or_path = "embeddings"  # where Unsloth offloads them, in a temporary folder
    is_tied = bool(model.config.tie_word_embeddings)
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        **adapter,
        bias="none",
        ensure_weight_tying=bool(adapter["modules_to_save"]) and is_tied,
        use_gradient_checkpointing=SETTINGS["checkpointing"],
        random_state=SETTINGS["training"]["seed"],
    )
    return unsloth, model, tokenizer


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def share_of_each(batch: int, passes: int, processes: int) -> tuple[int, int]:
    """Rows per pass and passes per step of each process, which together take the same rows a step as one would."""
    if passes % processes == 0:
        return batch, passes // processes
    if batch % processes == 0:
        return batch // processes, passes
    raise SystemExit(
        f"A step of {passes} x {batch} rows cannot be divided among {processes} processes: choose --batch or "
        "--accumulation so that one of them can."
    )


def main() -> None:
    chosen = arguments()
    unsloth, model, tokenizer = load(chosen)
    import torch
    from transformers import DataCollatorForSeq2Seq

    on_card, training = torch.cuda.is_available(), dict(SETTINGS["training"])
    dtype = model.get_input_embeddings().weight.dtype
    packs = training["packing"] and on_card
    batch, passes = share_of_each(chosen.batch, chosen.accumulation, processes())
    training |= {
        "max_steps": chosen.steps,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": passes,
    }
    unsloth.FastLanguageModel.for_training(model)
    trainer = unsloth.UnslothTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=read_rows(chosen.rows),
        data_collator=None if packs else DataCollatorForSeq2Seq(tokenizer),
        args=unsloth.UnslothTrainingArguments(
            **training,
            max_length=SETTINGS["model"]["max_seq_length"],
            bf16=dtype == torch.bfloat16,
            fp16=dtype == torch.float16,
            gradient_checkpointing=bool(SETTINGS["checkpointing"]),
            output_dir=str(chosen.out.parent / "unused"),
            save_strategy="no",
            report_to="none",
            logging_steps=1,
            logging_nan_inf_filter=False,
            dataset_num_proc=None,
            dataset_kwargs={"skip_prepare_dataset": not packs},
        ),
    )
    if training["train_sampling_strategy"] == "group_by_length":
        order_by_epoch(trainer)
    if not on_card:  # TRL makes them bfloat16 beside a 4-bit base
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
    trainer.train()
    save(trainer, model, tokenizer, chosen.out)


def order_by_epoch(trainer) -> None:
    """Makes the order of the rows in an epoch depend on the seed and the epoch's number alone."""
    import torch

    make = trainer._get_train_sampler

    def sampler(*args, **kwargs):
        made = make(*args, **kwargs)
        made.set_epoch = lambda epoch: setattr(
            made, "generator", torch.Generator().manual_seed(trainer.args.seed + epoch)
        )
        return made

    trainer._get_train_sampler = sampler


def save(trainer, model, tokenizer, out: Path) -> None:
    """Writes the adapter, its trained copies in the precision of the base."""
    from peft.utils.other import ModulesToSaveWrapper

    if not trainer.is_world_process_zero():
        return
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    for wrapper in model.modules():
        if isinstance(wrapper, ModulesToSaveWrapper):
            for copy in wrapper.modules_to_save.values():
                copy.to(wrapper.original_module.weight.dtype)
    model.save_pretrained(str(out), save_embedding_layers=False)
    tokenizer.save_pretrained(str(out))
    print(f"The adapter is in {out}.")


if __name__ == "__main__":
    main()
