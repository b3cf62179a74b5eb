"""A few steps of training on each shape make the answer more likely after a prompt from the training rows."""

import json

import pytest

from core.data.prepared.prepare import prepare
from core.data.prepared.tokens import UNTRAINED
from tests.conftest import load_for, small_config

WORDS = ["red", "blue", "green", "pink", "grey", "black", "white", "brown"]
ANSWER = "the cat sat"


def asked(word: str) -> str:
    return f"Say {word}."


def turns(word: str, speaker: str, says: str, names: tuple[str, str]) -> list[dict]:
    return [{speaker: names[0], says: asked(word)}, {speaker: names[1], says: ANSWER}]


SHAPES = {
    "alpaca": ("alpaca", lambda word: {"instruction": asked(word), "input": "", "output": ANSWER}),
    "question": ("question", lambda word: {"id": 7, "Question": asked(word), "Answer": ANSWER}),
    "messages": ("messages", lambda word: {"messages": turns(word, "role", "content", ("user", "assistant"))}),
    "parts": ("messages", lambda word: {"messages": [
        {"role": "user", "content": [{"type": "text", "value": asked(word)}]},
        {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]},
    ]}),
    "sharegpt": ("sharegpt", lambda word: {"conversations": turns(word, "from", "value", ("human", "gpt"))}),
    "text": ("text", lambda word: {"text": f"{asked(word)} {ANSWER}"}),
    "columns": ("columns", lambda word: {"colour": word, "reply": ANSWER}),
    "response": ("columns", lambda word: {"colour": word, "reply": ANSWER}),
}  # fmt: skip
SETTINGS = {
    "columns": ["data.prompt_template={colour} is said. {reply}"],
    "response": ["data.prompt_template={colour} is said. Reply is {reply}", "data.response_starts_after=Reply is"],
}


def likelihood(loaded, example) -> float:
    """Mean log likelihood (nats) of the first two tokens of the row's last answer."""
    import torch

    from core.model.views import for_inference

    learned = [place for place, label in enumerate(example.labels) if label != UNTRAINED]
    # All of a plain text is trained on; of that, its last words are measured.
    places = learned[:2] if len(learned) < len(example.labels) else learned[-4:-2]
    with torch.inference_mode(), for_inference(loaded):
        logits = loaded.model(input_ids=torch.tensor([example.input_ids]), use_cache=False).logits[0].float()
    chances = logits.log_softmax(-1)
    return sum(float(chances[place - 1, example.input_ids[place]]) for place in places) / 2


@pytest.mark.parametrize("kind", SHAPES)
def test_the_next_token_moves_towards_the_answer(kind, unsloth, stories, tmp_path):
    from core.training.train import train

    name, row = SHAPES[kind]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(word)) + "\n" for word in WORDS))
    config = small_config(
        stories, path, "training.max_steps=5", "training.gradient_accumulation_steps=1", "data.validation_share=0",
        "model.load_in_4bit=yes", *SETTINGS.get(kind, []),
    )  # fmt: skip
    loaded = load_for(config)
    data = prepare(config.data, loaded.tokenizer, 128, True)
    assert (data.shape.name, len(data.train), data.left_out.total) == (name, 8, 0)
    example = data.train[0]
    before = likelihood(loaded, example)
    train(loaded, config, data, tmp_path / "adapter", lambda event: None, lambda: False)
    assert likelihood(loaded, example) > before + 0.5
