"""The demo's tokenizer: byte-level BPE that splits text as Llama 3's does, so that a GGUF file can hold it.

A word at the front of a sentence has a capital, and no space before it: "Tired", not " tired". To move words to the
front, the model would have to memorize which tokens belong together, and BPE could even cut the two differently. So
the merges are learned on capitalized words, and each merge of a word's beginning has a twin with a space and a small
letter: both forms of a word are cut alike, and `twins` says which tokens differ in nothing else.
"""

import json
import random
import re
import string
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from core.demo import lessons

VOCABULARY = 1536
CONTEXT = 512
SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|finetune_right_pad_id|>",
)
BOS, EOS, HEADER, HEADER_END, EOT, PAD = range(6)
SPACE, LINE_END = "Ġ", "Ċ"  # byte-level BPE's signs for them
LLAMA_3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

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


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Llama 3's special tokens, so it can encode any text."""
    tokens, merges = vocabulary(seed)
    model = models.BPE({token: number for number, token in enumerate(tokens)}, merges, ignore_merges=True)
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(LLAMA_3_SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
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


def vocabulary(seed: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The tokens by id, and the merges in their order."""
    # These are tokens without merges: the words and line ends of the chat template, and the small words that people who
    # type carelessly begin a sentence with.
    whole = ["system", "user", "assistant", LINE_END * 2, *sorted(filter(_is_long, lessons.FUNCTION_WORDS))]
    merges = [(SPACE, letter) for letter in string.ascii_lowercase]
    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *whole, *map("".join, merges)]
    for left, right in learned_merges(lessons.plain_text(random.Random(seed), 10_000)):
        alike = [(form, right) for form in (left, twin(left)) if form]
        new = dict.fromkeys(text for text in map("".join, alike) if text not in tokens)
        if len(tokens) + len(new) <= VOCABULARY:
            merges += alike
            tokens += new
    return tokens, merges


def learned_merges(texts: Iterable[str]) -> list[tuple[str, str]]:
    """BPE's merges for the words of these texts, all of them capitalized."""
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False)
    words = (word.capitalize() for text in texts for word in re.findall("[A-Za-z]+", text))
    tokenizer.train_from_iterator(words, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def twin(token: str) -> str:
    """What a word begins with inside a sentence, if it begins with `token` at the front: "Ġti" for "Ti".

    Empty if `token` does not begin with a capital.
    """
    return SPACE + token[0].lower() + token[1:] if token[0] in string.ascii_uppercase else ""


def words_and_forms(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """For each token the number of its word, which is the same for all its forms, and the number of its form.

    The form is 1 with a space before it, 2 with a capital, 3 small and without a space, and 0 if there is only one.
    """
    ids = tokenizer.get_vocab()
    words, forms = list(range(len(ids))), [0] * len(ids)
    for token, number in ids.items():
        if inside := ids.get(twin(token)):
            words[number], forms[number], forms[inside] = inside, 2, 1
        elif token in lessons.FUNCTION_WORDS and (inside := ids.get(SPACE + token)):
            words[number], forms[number] = inside, 3
    return words, forms


def _is_long(word: str) -> bool:
    return len(word) > 1
