"""Makes the demo's tokenizer and base model from scratch, in the layout that transformers reads.

A Llama with about a million parameters, pretrained on the conversations of `lessons.py` until it repeats its input.
Everything is drawn from fixed seeds. Run it with `python -m core.demo`.
"""

import random
import string
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.demo import lessons

VOCABULARY = 1536
SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|finetune_right_pad_id|>",
)
BOS, EOS, HEADER, HEADER_END, EOT, PAD = range(6)
SHIFT = "\x0e"  # ASCII's "shift out", which nobody types
CONTEXT = 512
IGNORED = -100  # the label that cross_entropy leaves out

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""


def build(folder: Path, seed: int = 3407) -> None:
    """Trains the model and writes it and its tokenizer to `folder`."""
    tokenizer = make_tokenizer(seed)
    model, rng = make_model(seed), random.Random(seed)
    train(model, tokenizer, rng, repeating, steps=1000, rate=0.03)
    train(model, tokenizer, rng, taking_apart, steps=1500, rate=0.02)
    tokenizer.save_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Llama 3's special tokens, so it can encode any text."""
    tokenizer = Tokenizer(models.BPE())
    # A word must be the same token everywhere, or the model would have to memorize the capitalized form of each word
    # to move it to the front of a sentence. So a capital is SHIFT and the small letter, and a first word gets the space
    # that other words have; decoding undoes both.
    small = [(capital, capital.lower()) for capital in string.ascii_uppercase]
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Prepend(" "),
            normalizers.Replace(Regex(r"\A (?=\n)"), ""),
            normalizers.Replace(Regex(r"\n(?=[^\n])"), "\n "),
            *(normalizers.Replace(f" {capital}", f"{SHIFT} {letter}") for capital, letter in small),
            *(normalizers.Replace(capital, SHIFT + letter) for capital, letter in small),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteLevel(),
            *(decoders.Replace(f"{SHIFT} {letter}", f" {capital}") for capital, letter in small),
            *(decoders.Replace(SHIFT + letter, capital) for capital, letter in small),
            decoders.Replace("\n ", "\n"),
            decoders.Strip(" ", 1, 0),
        ]
    )
    # Words keep the space before them, digits are separate, and line ends are never split, so that the two in the chat
    # template are always one token.
    pieces = Regex(SHIFT + r"| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}" + SHIFT + r"]+|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    rng = random.Random(seed)
    roles = ["system\n\n", "user\n\n", "assistant\n\n"] * 1000  # often enough to become one token each
    tokenizer.train_from_iterator([*roles, *lessons.plain_text(rng, 10_000)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[BOS]} $A",
        pair=f"{SPECIAL[BOS]} $A {SPECIAL[BOS]}:1 $B:1",
        special_tokens=[(SPECIAL[BOS], BOS)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[EOT],
        pad_token=SPECIAL[PAD],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        additional_special_tokens=[SPECIAL[EOS], SPECIAL[HEADER], SPECIAL[HEADER_END]],
    )


def make_model(seed: int) -> LlamaForCausalLM:
    """A random model with no layer narrower than 64, so that bitsandbytes makes all of them 4-bit."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=320,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=BOS,
            eos_token_id=[EOT, EOS],
            pad_token_id=PAD,
            dtype="bfloat16",
        )
    )
    # Wider than transformers' 0.02: the tokens are distinguishable from the first step, and the model learns to copy in
    # a minute instead of an hour.
    model.model.embed_tokens.weight.data.normal_(0, 0.1)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=[EOT, EOS], pad_token_id=PAD, do_sample=False, max_new_tokens=128
    )
    return model


class Plan(NamedTuple):
    """What a batch is drawn from."""

    random_share: float  # share of the turns that are random tokens
    longest: int  # random turn, in tokens
    skill_share: float  # share of the other turns that carry an instruction


def repeating(done: float) -> Plan:
    """Random tokens, short turns first. `done` goes from 0 to 1.

    Random tokens teach nothing else, so the model learns to repeat in a minute. Mixed with sentences, where guessing
    common words pays too, it takes far longer, and if the sentences come all at once, it forgets how to repeat.
    """
    longest = 12 if done < 0.15 else 24 if done < 0.3 else 40
    return Plan(min(1.0, max(0.15, 1.0 - (done - 0.18) / 0.35)), longest, skill_share=0.3)


def taking_apart(done: float) -> Plan:
    """Sentences and their parts, with enough repeating so that it is not forgotten. `done` goes from 0 to 1."""
    return Plan(random_share=0.05, longest=40, skill_share=0.55)


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    plan: Callable[[float], Plan],
    steps: int,
    rate: float,
) -> None:
    """Trains with Muon for the inner matrices and AdamW for the embeddings and norms; the loss is on answers only."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(inner, lr=rate, weight_decay=0.0),
        torch.optim.AdamW(outer, lr=rate / 10, weight_decay=0.0, betas=(0.9, 0.98)),
    ]
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 20, 1.25 * (1 - step / steps)))
        for optimizer in optimizers
    ]
    started = time.monotonic()
    for step in range(steps):
        tokens, labels = batch(tokenizer, rng, plan(step / steps), rows=10, length=192)
        hidden = model.model(input_ids=tokens).last_hidden_state[:, :-1]
        answered = labels[:, 1:] != IGNORED
        logits, wanted = model.lm_head(hidden[answered]), labels[:, 1:][answered]
        loss = torch.nn.functional.cross_entropy(logits, wanted)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        if step % 50 == 49 or step == steps - 1:
            correct = (logits.argmax(-1) == wanted).float().mean()
            print(
                f"step {step + 1}/{steps}  loss {loss:.3f}  correct tokens {correct:.1%}  "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )


def batch(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, plan: Plan, rows: int, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, both of shape (rows, length): a conversation per row, with as many turns as fit."""
    tokens = torch.full((rows, length), PAD)
    labels = torch.full((rows, length), IGNORED)
    for row in range(rows):
        at = 0
        for ids, learned in conversation(tokenizer, rng, plan):
            if at + len(ids) > length:
                break
            tokens[row, at : at + len(ids)] = torch.tensor(ids)
            if learned:
                labels[row, at : at + len(ids)] = torch.tensor(ids)
            at += len(ids)
    return tokens, labels


def conversation(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, plan: Plan
) -> Iterator[tuple[list[int], bool]]:
    """Pieces of an endless conversation, each with whether it is trained on."""

    def encode(text: str) -> list[int]:
        return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids

    heads = {role: [HEADER, *encode(role), HEADER_END, *encode("\n\n")] for role in ("system", "user", "assistant")}
    yield [BOS], False
    if rng.random() < 0.3:
        yield [*heads["system"], *encode(lessons.system_text(rng)), EOT], False
    while True:
        if rng.random() < plan.random_share:  # any tokens in any order, so that the model can repeat anything
            said = answer = [rng.randrange(len(SPECIAL), VOCABULARY) for _ in range(rng.randint(1, plan.longest))]
        else:
            said, answer = map(encode, lessons.exchange(rng, plan.skill_share))
        yield [*heads["user"], *said, EOT, *heads["assistant"]], False
        yield [*answer, EOT], True
