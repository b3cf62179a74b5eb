"""A conversation: what each pane is asked, what a retry changes, what a failure leaves, and the export."""

import json

import gradio as gr
import pytest

from core.answering.sampling import Answer, Sampling
from core.comparing.conversation import Conversation, Turn, answer_figures, as_json, as_markdown, asked_again
from core.problems import ModelError
from core.runs.adapter_ref import BASE, Pane
from core.runs.events import Receipt
from core.runs.run_folder import create_run
from core.settings.run_config import RunConfig
from core.workbench.desk import ANSWERING, LOADING
from core.workbench.model_slot import ModelState
from core.workbench.workbench import Workbench
from ui.compare.chat_tab import CompareTab
from ui.compare.chat_view import earlier_text, empty_text, newest_text, pane_looks, proof_text
from ui.compare.sampling_form import make_sampling
from ui.shared.formatting import pane_label

RUN, STEP = Pane("20261122-093505-demo-yoda"), Pane("20261122-093505-demo-yoda", 40)
DRAWN = Sampling(temperature=0.7, top_p=0.9, seed=5)
YES, NO = Answer("yes", 2, 0.5, 0.25, "itself"), Answer("no", 1, 0.5, 0.25, "limit")
RECEIPT = Receipt(trainable_parameters=1, total_parameters=2, groups=(), precision="", optimizer="", max_steps=1,
                  train_rows=1, validation_rows=1, trained_tokens_share=1)  # fmt: skip
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


def test_a_question_on_its_own_is_asked_without_the_turns_before_it(two_turns):
    alone = two_turns.asked("Three?", "Be brief.", Sampling(), is_on_its_own=True)
    system, three = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Three?"}
    assert alone.messages(0) == alone.messages(1) == [system, three]
    assert alone.turns[:2] == two_turns.turns, "they are still shown"
    after = alone.answered((YES, NO)).asked("Four?", "", Sampling())
    assert [message["content"] for message in after.messages(1)] == [
        "One?", "no", "Two?", "yes", "Three?", "no", "Four?"
    ]  # fmt: skip


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


def test_with_other_turns_before_it_an_exact_answer_may_differ():
    turn = Turn("?", (YES, NO))
    assert asked_again(turn, "", Sampling(), sees_as_much=False) == Sampling()
    assert asked_again(turn, "", Sampling(), sees_as_much=True) is None


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
        "is_on_its_own": False,
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


def test_both_files_say_which_questions_were_on_their_own(two_turns):
    alone = two_turns.asked("Three?", "", Sampling(), is_on_its_own=True).answered((YES, NO))
    assert [turn["is_on_its_own"] for turn in json.loads(as_json(alone))["turns"]] == [False, False, True]
    markdown = as_markdown(alone, ["Base", "run"])
    assert markdown.count("Asked with temperature") == 2
    assert "Three?\n```\n\nAsked on its own, with temperature 0 (exact), at most 128 tokens.\n" in markdown


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
    assert '<div class="answer written"><p>A red &lt;b&gt; cat</p></div>' in drawn
    assert '<div class="answer">A <del>red</del><ins>blue</ins> &lt;b&gt; cat <ins>now</ins></div>' in drawn
    assert drawn.count("Struck through: only Base wrote it. Underlined: only written here.") == 1
    assert drawn.count("Word for word the same as Base.") == 1
    assert "<ins>" not in newest_text(conversation, False)
    writing = conversation.answered((one, two, Answer("A", 1, 1, 1)))
    assert "<ins>" not in newest_text(writing, True), "while one is writing nothing can be compared"


def test_what_is_gone_is_struck_out_and_long_texts_are_not_compared():
    answers = Answer("one two three", 1, 1, 1, "itself"), Answer("one three", 1, 1, 1, "itself")
    conversation = Conversation((BASE, RUN)).asked("?", "", Sampling())
    assert "one <del>two</del>three" in newest_text(conversation.answered(answers), True)
    replaced = [Answer(f"{words}.", 1, 1, 1, "itself") for words in (" ".join(["old"] * 40), "new")]
    drawn = newest_text(conversation.answered(replaced), True)
    assert f"{' '.join(['old'] * 40)}</del><ins>new</ins>." in drawn, "all of it, however long"
    spaces = [Answer(text, 1, 1, 1, "itself") for text in ("a b", "a\nb")]
    drawn = newest_text(conversation.answered(spaces), True)
    assert "Word for word the same as Base; only spaces or line breaks differ." in drawn and "<del>" not in drawn
    long = [Answer(" ".join(f"the {letter}{n}" for n in range(10_000)), 1, 1, 1, "itself") for letter in "xy"]
    drawn = newest_text(conversation.answered(long), True)
    assert "The differences are not shown: the answers are too long to compare." in drawn and "the y9999" in drawn


def test_an_answer_is_markdown_once_it_has_ended_and_can_be_copied_as_it_was_written():
    conversation = Conversation((BASE, RUN)).asked("?", "", Sampling())
    drawn = newest_text(conversation.answered((Answer("**a**", 1, 1, 1), Answer("**a**\n", 1, 1, 1, "itself"))))
    assert '<div class="answer">**a**</div>' in drawn
    assert '<div class="answer written"><p><strong>a</strong></p></div>' in drawn
    assert drawn.count("data-copy") == 1 and 'data-copy="**a**\n"' in drawn


def test_a_blank_answer_and_one_that_repeats_itself_are_called_so():
    loop = Answer("no more " * 20, 40, 1, 1, "limit")
    answers = [Answer(" \n", 1, 1, 1, "itself"), loop, Answer("", 0, 1, 0, "stopped")]
    drawn = newest_text(Conversation((BASE, RUN, STEP)).asked("?", "", Sampling()).answered(answers))
    assert drawn.count('<p class="remark">') == 2
    assert drawn.count("This answer is blank.") == drawn.count("This answer repeats itself.") == 1
    writing = [answers[0], Answer("no more " * 20, 40, 1, 1), answers[2]]
    drawn = newest_text(Conversation((BASE, RUN, STEP)).asked("?", "", Sampling()).answered(writing))
    assert "repeats itself" not in drawn, "it may yet end otherwise"


def test_questions_to_try_are_below_the_empty_panes():
    drawn = empty_text((BASE, RUN), questions=("One?", "Two <b>?"))
    assert drawn.count("no answer yet") == 2
    assert 'data-question="One?">One?</button>' in drawn and drawn.count("<button") == 2 and "<b>" not in drawn
    assert "<button" not in empty_text((BASE, RUN)) and "validation" not in empty_text((BASE, RUN))


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
    asked = {tab.conversation: Conversation(), tab.prompt: "", tab.differ: False, tab.alone: False, tab.alone_for: ()}
    return {**asked, **chosen, **sampled, picker.shown_for: "base"}


def test_nothing_is_asked_again_where_nothing_was_asked(tab):
    assert list(tab._retry(form(tab))) == [{tab.trouble: ""}] and tab._edit(form(tab)) == {tab.trouble: ""}


@pytest.mark.parametrize("place", ["left", "right", "third"])
@pytest.mark.parametrize("key", [5, ["base"], {"a": 1}, True])
def test_a_pane_that_is_no_text_is_refused_in_words(tab, place, key):
    values = form(tab, **{place: key}) | {tab.prompt: "Who?"}
    asked_for = (tab._choose, tab._new, lambda v: list(tab._ask(v)), lambda v: list(tab._retry(v)))
    for handler in asked_for:
        with pytest.raises(gr.Error, match="A pane is named by text: base, or a run's id."):
            handler(values)


def test_only_a_run_of_the_list_is_loaded(tab, tmp_path):
    elsewhere = create_run(tmp_path / "elsewhere", "x", RunConfig())
    for wanted in (str(elsewhere.folder), "../elsewhere/" + elsewhere.id):
        said = tab.picker.load(wanted, "")
        assert "no longer exists; it was moved or deleted." in said and 'class="notice error"' in said
    assert tab.picker.load("", "") == tab.picker.load(None, "") == tab.picker.load("base", "") == ""
    made = create_run(tmp_path / "runs", "x", RunConfig())
    assert f"Run {made.id} has no adapter" in tab.picker.load(made.id, "")
    assert f"Run {made.id} has no checkpoint at step 40" in tab.picker.load(f"{made.id}/checkpoints/step-40", "")


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


def test_live_never_changes_what_was_chosen_and_nothing_is_loaded_while_loading(tab):
    live = tab.live()
    assert all("value" not in live[part] for part in tab.picker.choices)
    assert live[tab.picker.loaded] == {"value": "base"} and live[tab.picker.progress] == {"value": ""}
    tab._workbench._slot.state = ModelState(doing="Loading the weights", share=0.25)
    with tab._workbench.desk.taken(LOADING):
        live = tab.live()
    assert live[tab.picker.loaded] == {}
    assert "Loading the weights" in live[tab.picker.progress]["value"]
    assert 'aria-valuenow="25"' in live[tab.picker.progress]["value"]


@pytest.mark.parametrize(
    ("loaded", "chosen", "wanted"),
    [
        ("one", ("base", "", ""), ("base", "one", "")),
        ("one", ("one", "base", "two"), ("one", "base", "two")),
        ("two", ("base", "one", ""), ("base", "two", "")),
        ("two", ("base", "one", "two"), ("base", "one", "two")),
        ("one", ("gone", "base", "one"), ("base", "base", "one")),  # of another base
        ("one", ("base", "gone", "one"), ("base", "one", "")),
        ("base", ("gone", "gone", "one"), ("base", "one", "")),
        ("base", ("base", None, None), ("base", "", "")),
    ],
)
def test_the_panes_after_another_run_was_loaded(tab, loaded, chosen, wanted):
    tab._workbench.lab.choices = lambda: [BASE, Pane("one"), Pane("two")]
    updates = tab.picker.panes_for(loaded, *chosen)
    assert tuple(update["value"] for update in updates) == wanted
    assert [name for name, _ in updates[1]["choices"]] == ["Choose a run…", "Base", "one", "two"]
    assert [name for name, _ in updates[0]["choices"]] == ["Base", "one", "two"]


def trained(tmp_path, name: str, is_single_turn: bool | None, questions=(), template="chat"):
    run = create_run(tmp_path / "runs", name, RunConfig().with_settings([f"data.prompt_template={template}"]))
    if questions is not None:
        about = {"is_single_turn": is_single_turn, "questions": questions}
        run.append(RECEIPT.model_copy(update=about))
    return run


def test_each_question_is_on_its_own_for_runs_of_single_turns(tab, tmp_path):
    single, several = trained(tmp_path, "single", True, ("Who?", "Why?")), trained(tmp_path, "several", False)
    old, old_alpaca = trained(tmp_path, "old", None, None), trained(tmp_path, "alpaca", None, None, "alpaca")
    for run, is_alone in ((single, True), (several, False), (old, False), (old_alpaca, True)):
        told = tab._choose(form(tab, right=run.id))
        assert told[tab.alone] is is_alone
        assert told[tab.alone_for] == (run.id,)
        assert ("data-question" in told[tab.panes]) == (run is single)
    assert 'data-question="Who?">Who?</button>' in tab._choose(form(tab, right=single.id))[tab.panes]
    assert tab._choose(form(tab, right=single.id, third=several.id))[tab.alone] is False
    assert tab._choose(form(tab, right="deleted"))[tab.alone] is False


def test_what_a_person_set_stays_while_the_same_runs_are_asked(tab, tmp_path):
    run = trained(tmp_path, "single", True)
    begun = Conversation((BASE, Pane(run.id))).asked("?", "", Sampling()).answered((YES, NO))
    values = form(tab, right=run.id, third=f"{run.id}/checkpoints/step-4")
    told = tab._choose(values | {tab.conversation: begun, tab.alone_for: (run.id,)})
    assert tab.alone not in told and "starts a new conversation" in told[tab.changed] and tab.panes not in told
    told = tab._choose(form(tab) | {tab.alone_for: (run.id,)})
    assert tab.alone not in told, "the base has no wish of its own"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((9, 1, 128, 0), "temperature cannot be 9: it must be at most 5."),
        ((0, 1, 0, 0), "max_new_tokens cannot be 0: it must be at least 1."),
    ],
)
def test_sampling_out_of_bounds_is_refused_in_words(values, said):
    with pytest.raises(ModelError) as refused:
        make_sampling(*values)
    assert str(refused.value) == said
    assert make_sampling(0.5) == Sampling(temperature=0.5)
