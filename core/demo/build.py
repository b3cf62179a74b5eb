"""Makes the demo's tokenizer and base model from scratch, in the layout that transformers reads.

A Llama with about a million parameters, pretrained on the conversations of `lessons.py` until it repeats its input.
Everything is drawn from fixed seeds. Run it with `python -m core.demo`.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy, embedding
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.demo import lessons
from core.demo.copying import prepare_to_copy
from core.demo.muon import Muon
from core.demo.tokenizer import (
    BOS,
    CONTEXT,
    EOS,
    EOT,
    HEADER,
    HEADER_END,
    PAD,
    SPECIAL,
    VOCABULARY,
    make_tokenizer,
    words_and_forms,
)

WIDTH = 128
STEPS, SLOWING = 1500, 300  # steps; over the last ones the learning rate falls to zero
LONGEST = 40  # turn of random tokens
IGNORED = -100  # the label that cross_entropy leaves out


def build(folder: Path, seed: int = 3407) -> None:
    """Trains the model and writes it and its tokenizer to `folder`."""
    tokenizer = make_tokenizer(seed)
    model, rng = make_model(seed), random.Random(seed)
    embeddings = Embeddings(tokenizer)
    prepare_to_copy(model, embeddings.words)
    train(model, embeddings, tokenizer, rng)
    model.model.embed_tokens.weight.data.copy_(embeddings())
    tokenizer.save_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(folder)


def make_model(seed: int) -> LlamaForCausalLM:
    """A random model with no layer narrower than 64, so that bitsandbytes makes all of them 4-bit."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
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
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=[EOT, EOS], pad_token_id=PAD, do_sample=False, max_new_tokens=128
    )
    return model


class Embeddings(torch.nn.Module):
    """The embeddings while they are trained: each the sum of a word's and of a form's, so that what the model learns
    about one word's capital it knows about every word's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        super().__init__()
        self.word_of, self.form_of = map(torch.tensor, words_and_forms(tokenizer))
        # Wider than transformers' 0.02: the words are distinguishable from the first step, and the model learns to copy
        # in minutes instead of an hour.
        self.words = torch.nn.Parameter(0.1 * torch.randn(VOCABULARY, WIDTH))
        self.forms = torch.nn.Parameter(0.03 * torch.randn(int(self.form_of.max()) + 1, WIDTH))

    def forward(self) -> torch.Tensor:
        """The embeddings of all tokens, of shape (vocabulary, width)."""
        return embedding(self.word_of, self.words) + embedding(self.form_of, self.forms)


class Plan(NamedTuple):
    """What a batch is drawn from."""

    random_share: float  # share of the turns that are random tokens
    skill_share: float  # share of the other turns that carry an instruction


def plan_at(step: int) -> Plan:
    """Random tokens at first, then more and more sentences and their parts.

    Random tokens teach nothing but to repeat. Mixed with sentences, where guessing common words pays too, that takes
    far longer, and if the sentences come all at once, the model forgets how to repeat.
    """
    mixed = min(1.0, max(0.0, (step - 20) / 60))
    return Plan(random_share=1.0 - 0.94 * mixed, skill_share=0.3 + 0.35 * mixed)


def train(
    model: LlamaForCausalLM,
    embeddings: Embeddings,
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    steps: int = STEPS,
    rate: float = 0.02,
) -> None:
    """Trains with Muon for the inner matrices and AdamW for the embeddings and norms; the loss is on answers only."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.ndim != 2] + [*embeddings.parameters()]
    optimizers = [
        Muon(inner, lr=rate),
        torch.optim.AdamW(outer, lr=rate / 10, weight_decay=0.0, betas=(0.9, 0.98)),
    ]
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 20, (steps - step) / SLOWING))
        for optimizer in optimizers
    ]
    started = time.monotonic()
    for step in range(steps):
        tokens, labels = batch(tokenizer, rng, plan_at(step), rows=10, length=192)
        of_tokens = embeddings()
        hidden = model.model(inputs_embeds=embedding(tokens, of_tokens)).last_hidden_state[:, :-1]
        answered = labels[:, 1:] != IGNORED
        logits, wanted = hidden[answered] @ of_tokens.T, labels[:, 1:][answered]
        loss = cross_entropy(logits, wanted)
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
            said = answer = [rng.randrange(len(SPECIAL), VOCABULARY) for _ in range(rng.randint(1, LONGEST))]
        else:
            said, answer = map(encode, lessons.exchange(rng, plan.skill_share))
        yield [*heads["user"], *said, EOT, *heads["assistant"]], False
        yield [*answer, EOT], True
