"""Finding a component by its number gives the same as with Gradio's own function, in a real browser."""

import pytest

from ui.gradio_patches import LIGHTER

TREE = """{id: 1, children: [
    {id: 2}, {id: 3, children: []}, {id: 4, children: [{id: 5, children: [{id: 6}]}, {id: 7}]},
]}"""


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
