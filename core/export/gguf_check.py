"""Whether llama.cpp makes of a GGUF file what the model that was trained makes of its own files."""

import random
from collections.abc import Sequence
from pathlib import Path

from core.data.prepared.tokens import UNTRAINED
from core.evaluation.question_rows import Row
from core.export.llama_cpp import LlamaCpp
from core.export.self_test import MAX_NEW_TOKENS, MAX_QUESTIONS, Observed, places_of
from core.model.loaded_model import LoadedModel
from core.problems import ExportError, mark
from core.threads import ShouldStop, leave_if

STRINGS = 500
SEED = 3407
OTHER_TOKENS = mark(
    "{file} was not kept: llama.cpp cuts {count} of {of} texts into other tokens than the model's tokenizer, for "
    "example {text!r:.60}; export an adapter or a merged model instead."
)
# Scripts, signs and spaces that tokenizers treat in different ways.
SAMPLES = (
    "The quick brown fox jumps over the lazy dog. It's 7:30, isn't it? We'll see; they've said so.",
    "naïve café, Straße, Ærøskøbing, žluťoučký kůň, ÅNGSTRÖM, İstanbul, ﬁne ligatures, e\u0301 and é",
    "한국어 문장은 띄어쓰기가 중요합니다. 값이 1,234원이에요!",
    "日本語の文章です。カタカナとひらがな、漢字。中文句子没有空格，标点不同。",
    "Русский текст, українська мова, Ελληνικά, עברית, العربية, हिन्दी, ไทย, ქართული",
    "🎉 emoji 👩‍👩‍👧‍👦 flags 🇰🇷🇩🇪 skin 👍🏽 and ❤️ too",
    'def f(x):\n    return {\'a\': [1, 2, 3], "b": x ** 2}  # comment\n\n\tif x != 0:\n\t\tprint(f"{x:>10.3f}")\n',
    "  leading,   several    spaces, a tab\there, trailing  \n\n\nblank lines\r\nWindows lines\r\n",
    "1234567890 3.14159 1e-10 0xFF 12/31/2026 +49 (0)30 1.234,56 €  100% #tag @user a_b-c/d\\e|f~g^h`i",
    "<b>html</b> &amp; [link](https://example.org/path?q=1&r=2#top) <s> </s> [INST] <<SYS>> ### Response:",
)


def check_tokens(llama: LlamaCpp, file: str, tokenizer, texts: Sequence[str]) -> int:
    """Compares the tokens of at least 500 texts and returns how many they were. Raises ExportError for a difference."""
    strings = strings_of(texts)
    wrong = [text for text in strings if llama.tokens(text) != tokenizer(text, add_special_tokens=False)["input_ids"]]
    if wrong:
        raise ExportError(OTHER_TOKENS, file=file, count=len(wrong), of=len(strings), text=min(wrong, key=len))
    return len(strings)


def strings_of(texts: Sequence[str]) -> list[str]:
    """The samples and these texts, and pieces of both, at least 500 in all; the same ones each time."""
    whole = list(dict.fromkeys(filter(None, (*SAMPLES, *texts))))
    pick, strings = random.Random(SEED), list(whole)
    while len(strings) < STRINGS:
        text = pick.choice(whole)
        begin = pick.randrange(len(text))
        strings.append(text[begin : begin + pick.randrange(1, 80)])
    return strings


def observe_gguf(
    llama: LlamaCpp,
    loaded: LoadedModel,
    rows: Sequence[Row],
    file: Path,
    most: int,
    should_stop: ShouldStop = lambda: False,
) -> Observed:
    """What llama.cpp makes of the rows, at the same places as `core.export.self_test.observe`. Raises Stopped.

    `loaded` is the model that was trained, of which the vocabulary and the end tokens are used.
    """
    import numpy as np

    vocabulary = loaded.model.config.vocab_size
    places = places_of(rows, most)
    made = np.memmap(file, np.float32, "w+", shape=(sum(map(len, places)), vocabulary))
    total, count, filled = 0.0, 0, 0
    for row, at in zip(rows, places, strict=True):
        ids = row.input_ids.tolist()
        for place in at:
            leave_if(should_stop)
            made[filled] = llama.log_probabilities(ids[: place + 1], vocabulary)
            label = row.labels[place + 1] if place + 1 < len(ids) else UNTRAINED
            if label != UNTRAINED:
                total, count = total - float(made[filled, label]), count + 1
            filled += 1
    questions = [row.question for row in rows if row.asked][:MAX_QUESTIONS]
    answers = []
    for question in questions:
        leave_if(should_stop)
        answers.append(llama.answer(question, MAX_NEW_TOKENS, loaded.eos_token_ids))
    return Observed(made, total / count if count else None, answers)
