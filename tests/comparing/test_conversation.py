"""A conversation: what each pane is asked, what a retry changes, what a failure leaves, and the export."""

import json

import gradio as gr
import pytest

from core.answering.sampling import Answer, Sampling
from core.comparing.conversation import Conversation, Turn, answer_figures, as_json, as_markdown, asked_again
from core.problems import ModelError
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import create_run
from core.settings.run_config import RunConfig
from core.workbench.desk import ANSWERING
from core.workbench.model_slot import ModelState
from core.workbench.workbench import Workbench
from ui.compare.chat_tab import CompareTab
from ui.compare.chat_view import earlier_text, newest_text, pane_looks, proof_text
from ui.compare.sampling_form import make_sampling
from ui.shared.formatting import pane_label

RUN, STEP = Pane("20261122-093505-demo-yoda"), Pane("20261122-093505-demo-yoda", 40)
DRAWN = Sampling(temperature=0.7, top_p=0.9, seed=5)
YES, NO = Answer("yes", 2, 0.5, 0.25, "itself"), Answer("no", 1, 0.5, 0.25, "limit")
EVIL = "</div><script>alert(1)</script>\n````\n# Not a heading\n| a | b |\n```"


@pytest.fixture
def two_turns():
    first = Conversation((BASE, RUN)).asked("One?", "Be brief.", Sampling()).answered((YES, NO))
    return first.asked("Two?", "Be brief.", DRAWN).answered((NO, YES))


def test_each_pane_sees_its_own_answers(two_turns):
    system, one, two = (
        {"role": role, "content": text} for role, text in (("system", "Be brief."), ("user", "One?"), ("user", "Two?"))
    )
    assert two_turns.messages(0) == [system, one, {"role": "assistant", "content": "yes"}, two]
    assert two_turns.messages(1) == [system, one, {"role": "assistant", "content": "no"}, two]
    assert Conversation((BASE,)).asked("Hi", "  ", Sampling()).messages(0) == [{"role": "user", "content": "Hi"}]


def test_it_never_changes_itself(two_turns):
    before = two_turns.turns
    longer = two_turns.asked("Three?", "", Sampling())
    assert two_turns.turns == before and longer.turns[:2] == before
    assert longer.turns[2] == Turn("Three?", (Answer(), Answer()))
    assert longer.without_last() == two_turns


def test_half_a_character_is_not_kept():
    turn = Conversation().asked("a\ud800", "b\udc00", Sampling()).turns[0]
    assert (turn.question, turn.system) == ("a?", "b?")


def test_what_a_failed_turn_leaves(two_turns):
    asked = two_turns.asked("Three?", "", Sampling())
    assert asked.broken_off() == two_turns, "nothing had been said"
    kept = asked.answered((YES, Answer("be", 1, 0.1, 0.1))).broken_off()
    assert kept.turns[-1].answers == (YES, Answer("be", 1, 0.1, 0.1, "stopped"))


@pytest.mark.parametrize(
    ("turn", "asked", "wanted"),
    [
        (Turn("?", (YES, NO)), Sampling(), None),
        (Turn("?", (YES, NO)), Sampling(seed=9, top_p=0.5), None),  # neither matters where nothing is drawn
        (Turn("?", (YES, NO)), Sampling(max_new_tokens=9), Sampling(max_new_tokens=9)),
        (Turn("?", (YES, Answer("n", 1, 1, 1, "stopped"))), Sampling(), Sampling()),
        (Turn("?", (YES, NO), "Be brief."), Sampling(), Sampling()),
        (Turn("?", (YES, NO), "", Sampling(seed=5)), DRAWN, DRAWN),  # exact before: this seed was not drawn with yet
        (Turn("?", (YES, NO), "", DRAWN), DRAWN, DRAWN.model_copy(update={"seed": 6})),
        (Turn("?", (YES, NO), "", DRAWN), DRAWN.model_copy(update={"seed": 77}), DRAWN.model_copy(update={"seed": 77})),
        (Turn("?", (YES, NO), "", DRAWN), Sampling(seed=5), Sampling(seed=5)),
        (
            Turn("?", (YES,), "", Sampling(temperature=1, seed=2**32 - 1)),
            Sampling(temperature=1, seed=2**32 - 1),
            Sampling(temperature=1, seed=0),
        ),
    ],
)
def test_asked_again(turn, asked, wanted):
    assert asked_again(turn, "", asked) == wanted


def test_figures_of_an_answer():
    assert (
        answer_figures(Answer("a b", 82, 2.0, 0.123, "itself"))
        == "ended by itself · 82 tokens · 41 tokens/s · first token after 0.12 s"
    )
    assert answer_figures(NO) == "cut off at the limit · 1 token · 2.0 tokens/s · first token after 0.25 s"
    assert answer_figures(Answer("", 0, 0.2, 0.0, "stopped")) == "stopped · 0 tokens"


def test_json_holds_all_of_it(two_turns):
    told = json.loads(as_json(two_turns))
    sampling = {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 128, "seed": 5}
    assert told["panes"] == ["base", "20261122-093505-demo-yoda"]
    assert [turn["question"] for turn in told["turns"]] == ["One?", "Two?"]
    assert told["turns"][1] == {
        "question": "Two?",
        "system": "Be brief.",
        "sampling": sampling,
        "answers": [
            {
                "pane": "base",
                "text": "no",
                "tokens": 1,
                "seconds": 0.5,
                "first_token_s": 0.25,
                "ended": "limit",
                "tokens_per_second": 2.0,
            },
            {
                "pane": RUN.key,
                "text": "yes",
                "tokens": 2,
                "seconds": 0.5,
                "first_token_s": 0.25,
                "ended": "itself",
                "tokens_per_second": 4.0,
            },
        ],
    }


def test_markdown_exactly():
    one = Conversation((BASE, RUN)).asked("One?", "Be brief.", DRAWN).answered((YES, NO))
    assert as_markdown(one, ["Base", "my *run*"]) == (
        "# Conversation: Base, my \\*run\\*\n\n## 1. Question\n\n"
        "System prompt:\n\n```text\nBe brief.\n```\n\n```text\nOne?\n```\n\n"
        "Asked with temperature 0.7, top-p 0.9, seed 5, at most 128 tokens.\n\n"
        "### Base\n\n```text\nyes\n```\n\nended by itself · 2 tokens · 4.0 tokens/s · first token after 0.25 s.\n\n"
        "### my \\*run\\*\n\n```text\nno\n```\n\n"
        "cut off at the limit · 1 token · 2.0 tokens/s · first token after 0.25 s.\n"
    )


def test_hostile_answers_stay_in_their_code_block():
    from markdown_it import MarkdownIt

    hostile = Conversation((BASE, RUN)).asked(EVIL, EVIL, Sampling()).answered((Answer(EVIL, 1, 1, 1, "itself"),) * 2)
    tokens = MarkdownIt().enable("table").parse(as_markdown(hostile, ["Base", "x\n# <b>y</b> `z`"]))
    assert [token.content for token in tokens if token.type == "fence"] == [f"{EVIL}\n"] * 4
    headings = [tokens[place + 1] for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert [heading.content for heading in headings][1:3] == ["1. Question", "Base"]
    kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    assert (
        "html_block" not in kinds
        and "html_inline" not in kinds
        and "em_open" not in kinds
        and "table_open" not in kinds
    )


# As the page shows it


def test_names_and_looks():
    assert [pane_label(pane) for pane in (BASE, RUN, STEP)] == [
        "Base",
        "demo-yoda, 22 Nov 09:35",
        "demo-yoda, 22 Nov 09:35, step 40",
    ]
    assert pane_looks((BASE, RUN, STEP)) == ["base", "tuned", "second"]
    assert pane_looks((RUN, BASE, BASE)) == ["tuned", "base", "base"]
    assert pane_looks((RUN, STEP, RUN)) == ["tuned", "second", "third"]


@pytest.mark.parametrize("first", [EVIL, "plain"])
@pytest.mark.parametrize("second", [EVIL, f"new {EVIL}", "none of it"])
@pytest.mark.parametrize("differ", [False, True])
def test_nothing_said_becomes_markup(first, second, differ):
    hostile = Conversation((BASE, Pane(EVIL))).asked(EVIL, "", Sampling())
    drawn = newest_text(hostile.answered([Answer(text, 1, 1, 1, "itself") for text in (first, second)]), differ)
    assert "<script" not in drawn and "&lt;script&gt;" in drawn
    assert drawn.count("<div") == drawn.count("</div>") == 3


def test_differences_are_marked_in_the_later_panes_only():
    one, two = Answer("A red <b> cat", 1, 1, 1, "itself"), Answer("A blue <b> cat now", 1, 1, 1, "itself")
    conversation = Conversation((BASE, RUN, STEP)).asked("?", "", Sampling()).answered((one, two, one))
    drawn = newest_text(conversation, True)
    assert '<div class="answer">A red &lt;b&gt; cat</div>' in drawn
    assert '<div class="answer">A <del>red</del><mark>blue</mark> &lt;b&gt; cat <mark>now</mark></div>' in drawn
    assert drawn.count("word for word the same as Base") == 1
    assert "<mark>" not in newest_text(conversation, False)
    writing = conversation.answered((one, two, Answer("A", 1, 1, 1)))
    assert "<mark>" not in newest_text(writing, True), "while one is writing nothing can be compared"


def test_what_is_gone_is_struck_out_and_long_texts_are_not_compared():
    answers = Answer("one two three", 1, 1, 1, "itself"), Answer("one three", 1, 1, 1, "itself")
    conversation = Conversation((BASE, RUN)).asked("?", "", Sampling())
    assert "one <del>two</del>three" in newest_text(conversation.answered(answers), True)
    replaced = [Answer(f"{words}.", 1, 1, 1, "itself") for words in (" ".join(["old"] * 40), "new")]
    drawn = newest_text(conversation.answered(replaced), True)
    assert f"{' '.join(['old'] * 40)}</del><mark>new</mark>." in drawn, "all of it, however long"
    spaces = [Answer(text, 1, 1, 1, "itself") for text in ("a b", "a\nb")]
    drawn = newest_text(conversation.answered(spaces), True)
    assert "word for word the same as Base; only spaces or line breaks differ" in drawn and "<del>" not in drawn
    long = [Answer(" ".join(f"the {letter}{n}" for n in range(10_000)), 1, 1, 1, "itself") for letter in "xy"]
    drawn = newest_text(conversation.answered(long), True)
    assert "differences are not shown: the answers are too long to compare" in drawn and "the y9999" in drawn


def test_earlier_turns_stand_apart_from_the_newest(two_turns):
    assert "One?" in earlier_text(two_turns) and "Two?" not in earlier_text(two_turns)
    assert "Two?" in newest_text(two_turns) and "One?" not in newest_text(two_turns)
    assert earlier_text(Conversation()) == "" and newest_text(Conversation((BASE, RUN))).count("no answer yet") == 2


def test_the_proof_in_words():
    assert "They differ: the largest logit difference after this prompt is 9.87." in proof_text((BASE, RUN), [9.8712])
    both = proof_text((BASE, RUN, STEP), [9.8712, 0.0])
    assert (
        "They differ, Base and demo-yoda, 22 Nov 09:35: the largest logit difference after this prompt is 9.87." in both
    )
    assert (
        "Base and demo-yoda, 22 Nov 09:35, step 40 are the same here" in both and "the adapter changes nothing" in both
    )
    assert "notice warning" in proof_text((BASE, RUN), [0.0]) and "notice good" not in proof_text((BASE, RUN), [0.0])
    assert "the adapter changes nothing" not in proof_text((RUN, STEP), [0.0])
    assert "are the same model: choose another" in proof_text((RUN, RUN), [0.0])


# The tab, with no model loaded


@pytest.fixture
def tab(tmp_path):
    with gr.Blocks():
        return CompareTab(Workbench(tmp_path / "runs"), gr.Textbox())


def form(tab, **panes) -> dict:
    """What the page sends of an empty conversation."""
    keys = {"left": "base", "right": "", "third": ""} | panes
    sampled = dict(zip(tab.sampling.inputs, ("", 0, 1, 8, 1), strict=True))
    picker = tab.picker
    chosen = {picker.left: keys["left"], picker.right: keys["right"], picker.third: keys["third"]}
    return {tab.conversation: Conversation(), tab.prompt: "", tab.differ: False, **chosen, **sampled}


def test_nothing_is_asked_again_where_nothing_was_asked(tab):
    assert list(tab._retry(form(tab))) == [{tab.trouble: ""}] and tab._edit(form(tab)) == {tab.trouble: ""}


@pytest.mark.parametrize("place", ["left", "right", "third"])
@pytest.mark.parametrize("key", [5, ["base"], {"a": 1}, True])
def test_a_pane_that_is_no_text_is_refused_in_words(tab, place, key):
    values = form(tab, **{place: key})
    asked_for = (tab._choose, tab._new, lambda v: list(tab._ask(v)), lambda v: list(tab._retry(v)))
    for handler in asked_for:
        with pytest.raises(gr.Error, match="A pane is named by text: base, or a run's id."):
            handler(values)


def test_only_a_run_of_the_list_is_loaded(tab, tmp_path):
    elsewhere = create_run(tmp_path / "elsewhere", "x", RunConfig())
    for wanted in (str(elsewhere.folder), "../elsewhere/" + elsewhere.id, ["x"], 5):
        said = tab.picker.load_run(wanted, "")
        assert "no longer exists; it was moved or deleted." in said and 'class="notice error"' in said
    assert "Choose a run first." in tab.picker.load_run(None, "")


def test_only_the_chat_s_own_answers_can_be_stopped_here(tab):
    workbench = tab._workbench
    for doing, shown, said in (
        (ANSWERING, True, None),
        ("a blind test is going on", False, "a blind test is going on"),
    ):
        with workbench.desk.taken(doing):
            live = tab.live()
        assert live[tab.stop] == {"visible": shown}
        if said is None:
            assert live[tab.hint] == {}
        else:
            assert said in live[tab.hint]["value"]


def test_what_was_chosen_stays_until_another_run_is_loaded(tab):
    assert tab.picker.suggest("newest", None) == "newest" and tab.picker.suggest("", None) is None
    assert tab.picker.suggest("newest", "chosen") == "chosen" and tab.picker.suggest("", "chosen") == "chosen"
    tab._workbench._slot.state = ModelState(adapter="loaded")
    assert tab.picker.suggest("loaded", "chosen") == "loaded"
    live = tab.live()
    assert all("value" not in live[part] for part in (tab.picker.runs, *tab.picker.choices))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((9, 1, 128, 0), "temperature cannot be 9: input should be less than or equal to 5."),
        ((0, 1, 0, 0), "max_new_tokens cannot be 0: input should be greater than or equal to 1."),
    ],
)
def test_sampling_out_of_bounds_is_refused_in_words(values, said):
    with pytest.raises(ModelError) as refused:
        make_sampling(*values)
    assert str(refused.value) == said
    assert make_sampling(0.5) == Sampling(temperature=0.5)
