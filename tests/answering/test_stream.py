"""Two answers in one pass: exactly those of one pass each, and a pass that can be stopped."""

import copy
import dataclasses
import threading

import pytest

import core.model.cpu_threads as cpu_threads
from core.answering.greedy import greedy_answers
from core.answering.logits import max_logit_differences
from core.answering.rows_in_one_pass import supports_rows
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.data.prepared.tokens import UNTRAINED
from core.model.adapters_on_base import FIRST_ADAPTER
from core.model.views import for_inference
from core.threads import in_own_thread
from tests.conftest import PROMPT, fresh_model, greedy_text, load_for, small_config


def question_of(trained) -> str:
    """The text of the first training row up to its answer."""
    example = trained.data.train[0]
    return trained.loaded.tokenizer.decode(example.input_ids[: example.labels.count(UNTRAINED)])


PAIR = (None, FIRST_ADAPTER)


def pairs(loaded, prompt: str, should_stop=lambda: False, **sampling):
    """Base and tuned as they grow."""
    return stream(loaded, [prompt] * 2, PAIR, Sampling(**{"max_new_tokens": 12} | sampling), should_stop)


def last(loaded, prompt: str, should_stop=lambda: False, **sampling):
    *_, pair = pairs(loaded, prompt, should_stop, **sampling)
    return pair


def difference_of(loaded) -> float:
    return max_logit_differences(loaded, PROMPT, PAIR)[0]


def texts(pair) -> tuple[str, str]:
    return pair[0].text, pair[1].text


def generating() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "generate"]


@pytest.fixture(scope="module")
def untouched(trained):
    """The stories with a fresh adapter, that nobody trained."""
    return load_for(trained.config)


def test_both_answers_are_those_of_the_models_apart(trained):
    with for_inference(trained.loaded):
        assert supports_rows(trained.loaded)
    for prompt in (PROMPT, question_of(trained), "A"):
        base, tuned = last(trained.loaded, prompt, max_new_tokens=24)
        assert base.text == greedy_text(trained.loaded, prompt, 24, base=True)
        assert tuned.text == greedy_text(trained.loaded, prompt, 24)
        assert base.text != tuned.text


def test_without_the_pass_for_two_the_answers_are_the_same(trained):
    apart = dataclasses.replace(trained.loaded, supports_rows=False)
    for sampling in ({}, {"temperature": 1.0, "top_p": 0.9}):
        assert texts(last(apart, PROMPT, **sampling)) == texts(last(trained.loaded, PROMPT, **sampling))


def test_a_base_without_an_adapter_answers_alone(trained):
    bare = fresh_model(trained.config)
    *_, (base,) = stream(bare, [PROMPT], [None], Sampling(max_new_tokens=24), lambda: False)
    assert base.text == greedy_text(bare, PROMPT, 24)
    assert base.text == last(trained.loaded, PROMPT, max_new_tokens=24)[0].text


def test_answers_grow_token_by_token(trained):
    seen = list(pairs(trained.loaded, PROMPT, max_new_tokens=8))
    for row in (0, 1):
        counts = [pair[row].tokens for pair in seen]
        assert counts[:-1] == sorted(counts[:-1]) and counts[0] == 1
        assert all(
            b.text.startswith(a.text) for a, b in zip((p[row] for p in seen), (p[row] for p in seen[1:]), strict=False)
        )
    assert seen[-1][0].tokens == 8
    firsts = {answer.first_token_s for pair in seen for answer in pair}
    assert len(firsts) <= 2 and 0 < max(firsts) <= seen[-1][0].seconds
    assert all(pair[0].ended == "" for pair in seen[:7])


def test_a_sampled_answer_is_drawn_again_by_its_seed(trained):
    first = texts(last(trained.loaded, PROMPT, temperature=1.2, seed=1))
    assert texts(last(trained.loaded, PROMPT, temperature=1.2, seed=1)) == first
    assert texts(last(trained.loaded, PROMPT, temperature=1.2, seed=2))[0] != first[0]
    assert texts(last(trained.loaded, PROMPT))[0] != first[0]


def test_the_number_of_threads_is_chosen_while_it_answers_and_changes_no_answer(trained, monkeypatch):
    import torch

    tried = []

    class Noting(cpu_threads.ThreadTrials):
        def add(self, seconds: float, tokens: int) -> None:
            tried.append(self.next)
            super().add(seconds, tokens)

    sampled = {"temperature": 1.2, "seed": 1}
    alone = texts(last(trained.loaded, PROMPT)), texts(last(trained.loaded, PROMPT, **sampled))
    monkeypatch.setattr(cpu_threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(cpu_threads, "ThreadTrials", Noting)
    with cpu_threads.threads_restored():
        torch.set_num_threads(2)
        assert (texts(last(trained.loaded, PROMPT)), texts(last(trained.loaded, PROMPT, **sampled))) == alone
        assert torch.get_num_threads() == 2 == in_own_thread(torch.get_num_threads), "as before"
    assert tried[:4] == [1, 1, 1, 2] and len(tried) == 2 * 11, "each token but the first, which takes the prompt"


def test_an_untrained_adapter_gives_the_base_also_when_sampling(untouched):
    assert difference_of(untouched) == 0.0
    for sampling in ({}, {"temperature": 1.0, "seed": 5}, {"temperature": 1.5, "top_p": 0.8}):
        base, tuned = last(untouched, PROMPT, **sampling)
        assert base.text == tuned.text != ""


def test_a_trained_adapter_is_not_the_base(trained, reloaded):
    difference = difference_of(trained.loaded)
    base, tuned = trained.logits["trained base"], trained.logits["trained tuned"]
    assert difference == float((base - tuned).abs().max()) > 0
    assert difference_of(reloaded) == difference
    assert texts(last(reloaded, PROMPT)) == texts(last(trained.loaded, PROMPT))


def test_how_an_answer_ends(trained):
    """One row ends at a token of its own answer, made an end token here, while the other runs to the limit."""
    loaded = fresh_model(trained.config)
    prompts = [PROMPT, "The cat"]
    ids = [loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    with for_inference(loaded):
        (first, _), (second, _) = greedy_answers(loaded, ids, 16, lambda: False)
    end = next(token for token in first[2:] if token not in second)
    loaded.model.generation_config.eos_token_id = [end]

    def text_of(tokens: list[int]) -> str:
        return loaded.tokenizer.decode(tokens, skip_special_tokens=True)

    *_, (ended, limited) = stream(loaded, prompts, [None, None], Sampling(max_new_tokens=16), lambda: False)
    tokens = first[: first.index(end)]
    assert (ended.ended, ended.tokens, ended.text) == ("itself", len(tokens), text_of(tokens))
    assert (limited.ended, limited.tokens, limited.text) == ("limit", 16, text_of(second))
    assert ended.seconds <= limited.seconds


@pytest.mark.parametrize("pair", [True, False])
def test_stopping_ends_both_answers(trained, pair):
    loaded = dataclasses.replace(trained.loaded, supports_rows=pair)
    seen = []

    def after_three_tokens() -> bool:
        return len(seen) >= 3

    for answers in pairs(loaded, PROMPT, after_three_tokens, max_new_tokens=4000):
        seen.append(answers)
    base, tuned = seen[-1]
    assert (base.ended, tuned.ended) == ("stopped", "stopped") and 3 <= base.tokens < 4000


def test_closing_the_answers_stops_the_model(trained):
    answers = pairs(trained.loaded, PROMPT, max_new_tokens=4000)
    next(answers)
    assert len(generating()) == 1
    answers.close()
    assert generating() == []
    assert trained.loaded.model.training  # as it was before the answer


def test_an_error_while_generating_is_raised_here_and_leaves_the_model_whole(trained):
    loaded = load_for(trained.config)  # of its own, in case it does not stay whole
    before = texts(last(loaded, PROMPT))
    strange = copy.deepcopy(loaded.tokenizer)
    strange.add_tokens(["<beyond>"], special_tokens=True)  # a token that the model has no embedding for
    with pytest.raises(IndexError):
        last(dataclasses.replace(loaded, tokenizer=strange), "<beyond>")
    assert generating() == []
    assert greedy_text(loaded, PROMPT, 12) == before[1]
    assert texts(last(loaded, PROMPT)) == before


def test_a_backend_without_the_pass_for_two_is_found_out_and_left_whole(trained):
    """Where layers refuse rows with different adapters, as kernels may, the answers come one after the other."""
    loaded = load_for(trained.config)
    before = texts(last(loaded, PROMPT))
    layer = next(module for name, module in loaded.model.named_modules() if name.endswith("q_proj"))
    plain = layer.forward

    def refusing(*args, **kwargs):
        if kwargs.get("adapter_names") is not None:
            raise RuntimeError("this kernel knows no adapter_names")
        return plain(*args, **kwargs)

    layer.forward = refusing
    loaded.supports_rows = None
    assert texts(last(loaded, PROMPT)) == before and loaded.supports_rows is False


def test_a_small_share_of_the_likeliest_is_the_greedy_answer(trained):
    greedy = texts(last(trained.loaded, PROMPT))
    assert texts(last(trained.loaded, PROMPT, temperature=5.0, top_p=1e-6, seed=9)) == greedy


def test_kernels_that_go_past_the_layers_are_seen_of_an_untrained_adapter(unsloth, stories, rows):
    import torch

    loaded = load_for(small_config(stories, rows))
    with for_inference(loaded):
        assert supports_rows(loaded) is True
    layer = loaded.model.base_model.model.model.layers[0]
    own = layer.self_attn.q_proj

    class Fused(torch.nn.Module):  # as a fused kernel does it, with the layer's weights and without its forward
        def __init__(self):
            super().__init__()
            self.layer = own

        def forward(self, x):
            name = own.active_adapters[0]
            return own.base_layer(x) + own.lora_B[name](own.lora_A[name](x.float())).to(x.dtype) * own.scaling[name]

    layer.self_attn.q_proj = Fused()
    loaded.supports_rows = None
    with for_inference(loaded):
        assert supports_rows(loaded) is False
