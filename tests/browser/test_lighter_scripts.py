"""What is put into Gradio's scripts gives what their own functions give, in a real browser."""

import pytest

from ui.gradio_patches import LIGHTER

TREE = """{id: 1, children: [
    {id: 2}, {id: 3, children: []}, {id: 4, children: [{id: 5, children: [{id: 6}]}, {id: 7}]},
]}"""
EVENTS = """[
    {targets: [[1, "click"], [2, "change"], [1, "blur"]]},
    {targets: []},
    {targets: [[2, ""], [2, "input"]]},
    {targets: [[3, "load"], [2, "submit"]]},
    {targets: [[1, "click"]]},
]"""


@pytest.fixture(scope="module")
def blank(chromium):
    page = chromium.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("function", LIGHTER[0], ids=["slow", "light"])
def test_a_component_is_found_by_its_number(blank, function):
    found = blank.evaluate(f"""() => {{
        {function}
        const tree = {TREE};
        const numbers = () => [1, 2, 3, 4, 5, 6, 7, 8].map(number => Z(tree, number)?.id ?? null);
        const first = numbers();
        tree.children = [{{id: 8, children: [{{id: 2}}]}}];
        return [first, numbers(), Z({{id: 9, children: []}}, 9).id, Z({{id: 10}}, 10).id];
    }}""")
    assert found == [[1, 2, 3, 4, 5, 6, 7, None], [1, 2, None, None, None, None, None, 8], 9, 10]


@pytest.mark.parametrize("function", LIGHTER[1], ids=["slow", "light"])
def test_a_component_s_events_are_found(blank, function):
    found = blank.evaluate(f"""() => {{
        const tree = new class {{ {function} }};
        const events = {EVENTS};
        const of = (id, events) => tree.find_attached_events({{id, props: {{shared_props: {{}}}}}}, events);
        const names = events => [1, 2, 3, 4].map(id => of(id, events).props.shared_props.attached_events);
        return [names(events), names(events.slice(3))];
    }}""")
    first = [["click", "click"], ["change", "submit"], ["load"], []]
    assert found == [first, [["click"], ["submit"], ["load"], []]]
