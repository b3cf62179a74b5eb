"""Markdown of a model as HTML: what it becomes, exactly, and that nothing else can come of it."""

import re
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from ui.shared.markdown import markdown

LINK = 'target="_blank" rel="noopener noreferrer nofollow"'
TAGS = set("p br strong em s code pre a h4 h5 h6 ul ol li blockquote table thead tbody tr th td hr".split())


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("", ""),
        ("one\n\ntwo\nthree", "<p>one</p><p>two<br>three</p>"),
        ("**b** *e* ~~s~~ `c<`", "<p><strong>b</strong> <em>e</em> <s>s</s> <code>c&lt;</code></p>"),
        ("two  spaces", "<p>two  spaces</p>"),
        ("# A\n### B\n###### C", "<h4>A</h4><h6>B</h6><h6>C</h6>"),
        ("- a\n- b\n\n7. c\n8. d", '<ul><li>a</li><li>b</li></ul><ol start="7"><li>c</li><li>d</li></ol>'),
        ("1. a", '<ol start="1"><li>a</li></ol>'),
        ("> q", "<blockquote><p>q</p></blockquote>"),
        ("---", "<hr>"),
        ("```py\nif a < b:\n  x\n```", '<pre tabindex="0"><code>if a &lt; b:\n  x\n</code></pre>'),
        ("```\nnot closed", '<pre tabindex="0"><code>not closed</code></pre>'),
        (
            "|a|b|\n|--|:-:|\n|1|**2**|",
            "<table><thead><tr><th>a</th><th>b</th></tr></thead>"
            "<tbody><tr><td>1</td><td><strong>2</strong></td></tr></tbody></table>",
        ),
        ("[t](https://a.org/?q=%22)", f'<p><a href="https://a.org/?q=%22" {LINK}>t</a></p>'),
        ("<mailto:a@b.org>", f'<p><a href="mailto:a@b.org" {LINK}>mailto:a@b.org</a></p>'),
        ("![alt](https://a.org/x.png)", f'<p>!<a href="https://a.org/x.png" {LINK}>alt</a></p>'),
        ("&lt;b&gt; \\<i>", "<p>&lt;b&gt; &lt;i&gt;</p>"),
    ],
)
def test_exact_html(text, html):
    assert markdown(text) == html and isinstance(markdown(text), Markup)


HOSTILE = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<div onclick=window.pwned=1>\n\n**a**\n\n</div>",
    "[a](javascript:window.pwned=1)",
    "[a](JaVaScRiPt&#58;window.pwned=1)",
    "[a](java\nscript:window.pwned=1)",
    "[a](data:text/html,<script>1</script>)",
    "![a](data:image/svg+xml;base64,PHN2Zz4=)",
    "![a](https://evil.example/pixel.png)",
    "![a][b]\n\n[b]: https://evil.example/pixel.png",
    "[a](/live?seen=) [b](#x) [c](//evil.example) [d](file:///etc/passwd) [e](http://[)",
    '[a](https://x.org "onmouseover=window.pwned=1")',
    '[a](https://x.org/"onmouseover="window.pwned=1)',
    '```"><img src=x onerror=window.pwned=1>\n"><img src=x>\n```',
    "`<img src=x>` <!-- x --> <![CDATA[x]]> <?php ?>",
    "# <svg onload=window.pwned=1>",
    "| <img src=x> |\n|---|\n| <script>1</script> |",
    "<https://x.org/<script>>",
    "{{ 7*7 }} {% raw %} ${7*7}",
]


class Parts(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.tags, self.attributes = set(), []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes


@pytest.mark.parametrize("text", HOSTILE)
def test_only_known_tags_and_links_to_elsewhere_come_of_it(text):
    html = markdown(text)
    found = Parts(html)
    assert found.tags <= TAGS
    assert {name for name, _ in found.attributes} <= {"href", "target", "rel", "start", "tabindex"}
    for name, value in found.attributes:
        assert name != "href" or re.match(r"(https?|mailto):", value)
    assert "49" not in html


def test_deep_nesting_is_bounded():
    for text in ("> " * 2000 + "x", "- " * 2000 + "x", "*" * 2000 + "x" + "*" * 2000, "[" * 2000 + "x"):
        assert Parts(markdown(text)).tags <= TAGS
