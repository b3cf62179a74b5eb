"""A proof as a receipt: what was compared, and which weights moved. HTML alone; knows nothing of gradio or torch."""

from html import escape

from core.comparing.proof import Proof
from core.model.weight_changes import GroupMoved, Moved, RowsMoved, TokenMoved
from core.runs.adapter_ref import Pane
from ui.shared.formatting import count, notice, pane_label, when

SHORT = 16  # characters of a hash that are shown; its title has all 64


def proof_text(proof: Proof) -> str:
    """The sentences, the hashes behind them, and what moved. Everything is escaped."""
    said = "".join(notice(words, kind) for kind, words in proof.sentences())
    before = proof.base_before
    rows = [
        ("base, when it was loaded", _hash(before) if before else "was not taken", ""),
        ("base, with the adapter off", _hash(proof.base_now), _verdict(proof.base_is_equal, "equal", "not equal")),
        ("tuned, with the adapter on", _hash(proof.tuned), _verdict(proof.tuned_differs, "differs", "same as base")),
    ]
    table = "".join(f"<tr><th>{name}</th><td>{hashed}</td><td>{verdict}</td></tr>" for name, hashed, verdict in rows)
    how = (
        f"SHA-256 of the logits after each of the {count(proof.tokens, 'token')} of one fixed prompt, "
        f"{when(proof.made)}. Nearly any change of a weight that they depend on gives another hash."
    )
    receipt = f'{said}<table class="hashes"><tbody>{table}</tbody></table><p class="soft">{how}</p>'
    return _card(f"Receipt for {escape(pane_label(Pane.from_key(proof.pane)))}", receipt) + moved_text(proof.moved)


def _card(title: str, inner: str) -> str:
    return f'<section class="proof card"><h3>{title}</h3>{inner}</section>'


def moved_text(moved: Moved) -> str:
    """Which weights moved and how far, in percent of their own length."""
    if moved.is_nothing:
        return _card("What training moved", "<p>Nothing: no weight differs from the base.</p>")
    parts = []
    if moved.kinds:
        parts += ["<h4>Layers, by kind</h4>", _bars(moved.kinds)]
        parts += ["<details><summary>By layer, the first at the top</summary>", _bars(moved.layers), "</details>"]
    parts += [_rows(part) for part in moved.embeddings]
    how = "How large the change is, in percent of the base's own weights (Frobenius norm)."
    return _card("What training moved", f'<p class="soft">{how}</p>{"".join(parts)}')


def change(share: float) -> str:
    """A relative change as a percentage with two digits that say something: 12%, 0.013%."""
    value = share * 100
    if not value:
        return "0%"
    return f"{value:,.0f}%" if value >= 9.95 else f"{value:.2g}%" if value >= 0.0001 else "under 0.0001%"


def _hash(value: str) -> str:
    return f'<code title="{escape(value)}">{escape(value[:SHORT])}…</code>'


def _verdict(is_so: bool | None, yes: str, no: str) -> str:
    if is_so is None:
        return "nothing to compare with"
    return f'<b class="yes">✓ {yes}</b>' if is_so else f'<b class="no">✗ {no}</b>'


def _bars(groups: tuple[GroupMoved, ...]) -> str:
    most = max(group.change for group in groups) or 1.0
    lines = "".join(
        f'<li><span>{escape(group.name)}</span><span class="moved-bar">'
        f'<i style="width:{group.change / most * 100:.1f}%"></i></span><b>{change(group.change)}</b></li>'
        for group in groups
    )
    return f'<ul class="moved-bars">{lines}</ul>'


def _rows(part: RowsMoved) -> str:
    are_one = ", which are one tensor here" if " and " in part.name else ""
    moved = "All" if part.rows_moved == part.rows else f"{part.rows_moved:,}"
    chips = "".join(_chip(token) for token in part.most)
    most = f'<p>Moved most, in percent of a typical row:</p><p class="chips">{chips}</p>' if chips else ""
    return (
        f"<h4>{escape(part.name)}{are_one}</h4><p>Moved by <b>{change(part.change)}</b>. {moved} of its "
        f"{count(part.rows, 'row')} moved at all; each row is a token.</p>{most}"
    )


def _chip(token: TokenMoved) -> str:
    name = f"<code>{escape(token.text)}</code>"
    return f'<span class="chip" title="token {token.id}">{name} {change(token.change)}</span>'
