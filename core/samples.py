"""A run's own prompts, answered by the base before training and by the tuned model at each check.

Knows nothing of threads or gradio.
"""

from contextlib import AbstractContextManager, nullcontext

from core.config import RunConfig
from core.events import Sampled
from core.model import LoadedModel, base_view, for_inference
from core.sampling import end_criteria
from core.stopping import ShouldStop, leave_if
from core.templates import prompt_text

MAX_NEW_TOKENS = 128


def answer_samples(
    loaded: LoadedModel,
    config: RunConfig,
    step: int,
    by: str,
    should_stop: ShouldStop,
    autocast: AbstractContextManager | None = None,
) -> Sampled:
    """The likeliest answers to the run's `sample_prompts`, all in one batch. Raises Stopped and TemplateError.

    `autocast` is the precision to compute in while the trainer holds the weights in its own.
    """
    import torch

    prompts = config.training.sample_prompts
    texts = [
        prompt_text([{"role": "user", "content": prompt}], config.data.prompt_template, loaded.tokenizer) for prompt in prompts
    ]
    room = max(loaded.report.max_seq_length - MAX_NEW_TOKENS, 1)
    ids = [loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][-room:] for text in texts]
    view = base_view(loaded) if by == "base" else nullcontext()
    with for_inference(loaded), view, autocast or nullcontext(), torch.inference_mode():
        encoded = loaded.tokenizer.pad({"input_ids": ids}, return_tensors="pt", padding_side="left")
        out = loaded.model.generate(
            input_ids=encoded["input_ids"].to(loaded.model.device),
            attention_mask=encoded["attention_mask"].to(loaded.model.device),
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
            pad_token_id=loaded.tokenizer.pad_token_id,
            eos_token_id=loaded.eos_token_ids,
            stopping_criteria=end_criteria(should_stop),
        )
    leave_if(should_stop)
    stops = set(loaded.eos_token_ids)
    answers = []
    for row in out[:, encoded["input_ids"].shape[1] :].tolist():
        end = next((place for place, token in enumerate(row) if token in stops), len(row))
        answers.append(loaded.tokenizer.decode(row[:end], skip_special_tokens=True).strip())
    return Sampled(step=step, by=by, prompts=tuple(prompts), answers=tuple(answers))
