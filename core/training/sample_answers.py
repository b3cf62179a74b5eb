"""Answers a run's own prompts: by the base before training, and by the tuned model at each check."""

from contextlib import AbstractContextManager, nullcontext
from datetime import date

from core.answering.answer_text import answer_text
from core.answering.greedy import greedy_answers
from core.data.prompts.prompt_date import on_date
from core.data.prompts.prompt_templates import prompt_text
from core.model.loaded_model import LoadedModel
from core.model.views import base_view, for_inference
from core.model.vocabulary import check_prompts
from core.runs.events import Sampled
from core.settings.run_config import RunConfig
from core.threads import ShouldStop, leave_if

MAX_NEW_TOKENS = 128


def answer_samples(
    loaded: LoadedModel,
    config: RunConfig,
    step: int,
    by: str,
    should_stop: ShouldStop,
    autocast: AbstractContextManager | None = None,
    prompt_date: date | None = None,
) -> Sampled:
    """The greedy answers to the run's `sample_prompts`, all in one batch. `by` is "base" or "tuned".

    `autocast` sets the precision to compute in while the trainer keeps the weights in another one. `prompt_date` is the
    day that the chat template takes for today. Raises Stopped, TemplateError if a prompt cannot be rendered, and
    ModelError if it has a token that the model does not know.
    """
    prompts, tokenizer = config.training.sample_prompts, on_date(loaded.tokenizer, prompt_date)
    texts = [
        prompt_text([{"role": "user", "content": prompt}], config.data.prompt_template, tokenizer) for prompt in prompts
    ]
    room = max(loaded.report.max_seq_length - MAX_NEW_TOKENS, 1)
    ids = [loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][-room:] for text in texts]
    check_prompts(loaded, ids)
    view = base_view(loaded) if by == "base" else nullcontext()
    with for_inference(loaded), view, autocast or nullcontext():
        found = greedy_answers(loaded, ids, MAX_NEW_TOKENS, should_stop)
    leave_if(should_stop)
    answers = [answer_text(loaded.tokenizer, ids, "itself" if ended else "limit").strip() for ids, ended in found]
    return Sampled(step=step, by=by, prompts=tuple(prompts), answers=tuple(answers))
