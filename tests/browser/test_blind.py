"""The blind test in a real browser: nothing that it gets tells which side is which before the vote."""

import json
import shutil

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from core.comparing.votes import read_votes
from core.runs.events import FINAL
from tests.app_process import running_app
from tests.browser.conftest import PHONE, photograph, tab
from ui.shared.formatting import run_label

PROMPTS = [
    "The old man reads a book.",
    "Where is my hat?",
    "We will go home.",
    "She sings.",
    "The dog runs.",
    "It is late.",
]

# Keeps all that comes to the page, streams among it, piece by piece: what devtools tell of a stream is cut off.
EAVESDROP = """
window.heard = [];
window.otherWays = false;
const original = window.fetch;
window.fetch = async (...asked) => {
    const answer = await original(...asked);
    if (!answer.body) return answer;
    const [mine, theirs] = answer.body.tee();
    (async () => {
        const reader = mine.pipeThrough(new TextDecoderStream()).getReader();
        for (let piece; !(piece = await reader.read()).done;) window.heard.push(piece.value);
    })().catch(() => {});
    const same = new Response(theirs, {status: answer.status, statusText: answer.statusText, headers: answer.headers});
    Object.defineProperty(same, 'url', {value: answer.url});
    return same;
};
for (const way of ['EventSource', 'WebSocket', 'XMLHttpRequest'])
    window[way] = new Proxy(window[way], {
        construct(made, asked) { window.otherWays = way; return new made(...asked); }
    });
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory, wait_until):
    """The page with a short run of the demo, whose adapter is loaded."""
    with running_app(tmp_path_factory.mktemp("blind")) as app:
        client = Client(app.url, verbose=False)
        client.predict("", ["training.max_steps=40", "training.eval_steps=40"], "", api_name="/start")
        wait_until(lambda: client.predict(api_name="/snapshot")["run"]["status"] in FINAL, "the run's end", 180)
        assert client.predict(api_name="/snapshot")["run"]["status"] == "completed"
        yield app


def open_blind(open_page, app, *size, theme="light"):
    page = open_page(f"{app.url}/?__theme={theme}", *size)
    tab(page, "Compare")
    tab(page, "Blind test")
    expect(page.locator("#blind-start")).to_be_enabled(timeout=30_000)
    return page


def start(page, prompts: list[str]) -> None:
    page.locator("#blind-prompts textarea").fill("\n".join(prompts))
    page.click("#blind-start")
    expect(page.locator("#blind-left")).to_be_enabled(timeout=60_000)


def shows(page, number: int, total: int) -> None:
    expect(page.locator("#blind-state")).to_contain_text(f"{number} of {total}", timeout=60_000)


def answers(page) -> list[str]:
    return page.locator("#blind-pair .pane").evaluate_all(
        "panes => panes.map(pane => pane.querySelector('.answer')?.innerText ?? '')"
    )


def told(page) -> str:
    return page.locator("#blind-last .told").inner_text()


def outlines(page) -> list[str]:
    """Each pane's markup without its texts."""
    return page.locator("#blind-pair .pane").evaluate_all(
        """panes => panes.map(pane => {
            const copy = pane.cloneNode(true);
            copy.querySelectorAll('h3, .answer, .empty').forEach(part => part.textContent = '');
            copy.removeAttribute('aria-label');
            return copy.outerHTML;
        })"""
    )


def test_nothing_that_the_browser_gets_tells_which_is_which(app, run, open_page):
    page = open_blind(open_page, app)
    page.add_init_script(EAVESDROP)
    page.reload()
    page.wait_for_selector("#load", timeout=60_000)
    tab(page, "Compare")
    tab(page, "Blind test")
    expect(page.locator("#blind-start")).to_be_enabled(timeout=30_000)
    expect(page.locator("#blind-second input")).to_have_value(run_label(run.id), timeout=30_000)
    names = page.evaluate("['#blind-first input', '#blind-second input'].map(box => document.querySelector(box).value)")
    assert names[0] == "Base" and "demo-yoda" in names[1]
    page.evaluate("window.heard = []")  # from here on it is the test's
    start(page, PROMPTS)
    shows(page, 1, len(PROMPTS))
    expect(page.locator("#blind-state")).to_contain_text("3 more are ready", timeout=60_000)
    photograph(page, "60-blind")
    left, right = (json.dumps(answer, ensure_ascii=False)[1:-1] for answer in answers(page))
    assert left != right, "the run changed nothing: this would test nothing"

    heard = page.evaluate("window.heard")
    about_the_pair = [text for text in heard if left in text and right in text]
    assert about_the_pair, "what brought the pair was not listened to"
    assert not page.evaluate("window.otherWays")
    for secret in (run.id, "contender", "tok/s", "first_token"):
        assert [text for text in heard if secret in text] == [], secret
    part = page.locator("#blind-test").evaluate("part => part.outerHTML")
    for secret in (run.id, run.name, *names, "base", "tuned", "adapter"):
        assert secret not in part, secret
        assert [text for text in about_the_pair if secret in text] == [], secret
    assert len(set(outlines(page))) == 1, "the two panes differ by their texts alone"
    page.click("#blind-end")
    expect(page.locator("#blind-start")).to_be_enabled(timeout=30_000)
    assert read_votes(run.folder).votes == ()


def test_votes_by_keys_and_buttons_are_those_that_are_kept(app, run, open_page):
    before = len(read_votes(run.folder).votes)
    page = open_blind(open_page, app)
    page.locator("#blind-prompts textarea").press("1")  # typed into something: no vote
    start(page, PROMPTS)
    seen = []
    for number, how in enumerate(("1", "2", "3", "4", "left", "right"), 1):
        shows(page, number, len(PROMPTS))
        prompt = page.locator("#blind-pair .asked").inner_text()
        seen.append((prompt, *answers(page)))
        expect(page.locator("#blind-left")).to_be_enabled()
        if how.isdigit():
            # Pressed a second time at once, it is no vote for the pair that comes next.
            page.wait_for_function(
                "last => performance.now() - last > 600", arg=page.evaluate("window.pressed ?? -1000")
            )
            page.evaluate("window.pressed = performance.now()")
            page.keyboard.press(how)
            page.keyboard.press(how)
        else:
            page.click(f"#blind-{how}")
        if number < len(PROMPTS):
            expect(page.locator("#blind-last")).to_contain_text("left was", timeout=10_000)
            if number == 1:
                photograph(page, "61-blind-after-a-vote")
            assert page.locator("#blind-result .card").count() == 0, "the tally is for the end"
    expect(page.locator("#blind-result h3")).to_contain_text("against Base", timeout=30_000)
    votes = read_votes(run.folder).votes[before:]
    assert [vote.choice for vote in votes] == ["left", "right", "tie", "bad", "left", "right"]
    assert [vote.prompt for vote in votes] == PROMPTS
    kept = [(vote.prompt, vote.left_answer.strip(), vote.right_answer.strip()) for vote in votes]
    assert kept == [(prompt, left.strip(), right.strip()) for prompt, left, right in seen]
    assert {vote.contender for vote in votes} == {run.id} and {vote.other for vote in votes} == {"base"}
    wins = sum(vote.winner == run.id for vote in votes)
    result = page.locator("#blind-result").inner_text()
    assert f"{wins} of 4: too few votes to say anything" in result
    assert "1 tie, 1 both bad" in result
    photograph(page, "62-blind-result")


def test_the_line_after_a_vote_says_which_was_which(app, run, open_page):
    page = open_blind(open_page, app)
    start(page, PROMPTS[:2])
    shows(page, 1, 2)
    page.click("#blind-right")
    shows(page, 2, 2)
    vote = read_votes(run.folder).votes[-1]
    assert ("left was Base" in told(page)) == (vote.left == "base")
    assert ("right was Base" in told(page)) == (vote.right == "base")
    page.click("#blind-end")
    expect(page.locator("#blind-result h3")).to_be_visible(timeout=30_000)


def test_a_second_page_shows_the_same_test_and_each_pair_counts_once(app, run, open_page):
    before = len(read_votes(run.folder).votes)
    first = open_blind(open_page, app)
    second = open_blind(open_page, app, PHONE, theme="dark")
    start(first, PROMPTS[:3])
    expect(second.locator("#blind-left")).to_be_enabled(timeout=30_000)
    shows(second, 1, 3)
    assert answers(second) == answers(first)
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    photograph(second, "63-blind-phone-dark")
    first.reload()
    first.wait_for_selector("#load", timeout=60_000)
    tab(first, "Compare")
    tab(first, "Blind test")
    shows(first, 1, 3)
    first.click("#blind-tie")
    second.click("#blind-tie")  # on the pair that it still shows, or on the next one if that is shown by now
    expect(first.locator("#blind-last")).to_contain_text("A tie", timeout=10_000)
    first.click("#blind-end")
    expect(second.locator("#blind-result h3")).to_be_visible(timeout=30_000)
    photograph(second, "64-blind-result-phone-dark")
    votes = read_votes(run.folder).votes[before:]
    assert [vote.prompt for vote in votes] == PROMPTS[: len(votes)], "no pair was voted on twice"
    assert second.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_what_a_person_chose_stays_while_it_can_be_had(app, run, open_page):
    page = open_blind(open_page, app)
    first, second = page.locator("#blind-first input"), page.locator("#blind-second input")

    def option(name: str):
        return page.get_by_role("option", name=name, exact=True)

    def choose(box, name: str) -> None:
        box.click()
        option(name).click()
        expect(box).to_have_value(name)
        expect(page.get_by_role("option")).to_have_count(0)  # the list fades away

    ours, other = run_label(run.id), "other, 1 Jan 00:00"
    expect(first).to_have_value("Base", timeout=30_000)
    expect(second).to_have_value(ours)
    choose(first, ours)
    choose(second, "Base")
    newer = shutil.copytree(run.folder, run.folder.with_name("20200101-000000-other"))
    try:
        second.click()
        expect(option(other)).to_be_visible(timeout=30_000)
        assert (first.input_value(), second.input_value()) == (ours, "Base")
        option(other).click()
        expect(second).to_have_value(other)
    finally:
        shutil.rmtree(newer)
    expect(second).to_have_value(ours, timeout=30_000)  # what is gone makes way for the loaded one
    assert first.input_value() == ours


def test_what_cannot_be_tested_is_said(app, open_page):
    page = open_blind(open_page, app)
    page.locator("#blind-prompts textarea").fill("  \n ")
    page.click("#blind-start")
    expect(page.locator("#blind-trouble .error")).to_contain_text("Write a prompt first", timeout=30_000)
    page.locator("#blind-file input[type=file]").set_input_files(
        [{"name": "p.json", "mimeType": "application/json", "buffer": b'[{"prompt": 3}]'}]
    )
    expect(page.locator("#blind-file")).to_contain_text("p.json", timeout=30_000)
    page.click("#blind-start")
    expect(page.locator("#blind-trouble .error")).to_contain_text(
        "The prompt in row 1 of p.json is no text", timeout=30_000
    )
    photograph(page, "65-blind-trouble")


def test_nothing_went_wrong_unseen(app):
    assert app.warnings_of_ours() == []
