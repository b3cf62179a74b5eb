"""A proof as a receipt: what was compared, and which weights changed."""

from collections.abc import Callable

from markupsafe import Markup

from core.comparing.proof import Proof
from core.model.weight_changes import GroupMoved, Moved, RowsMoved
from core.runs.adapter_ref import Pane
from ui.shared.formatting import count, cut, pane_label, when
from ui.shared.html import render_part

TEMPLATE = "compare/proof.html"
HASH_CHARACTERS = 16  # of a hash that are shown; its title has all 64


def proof_text(proof: Proof, label: Callable[[Pane], str] = pane_label) -> Markup:
    """The sentences, the hashes behind them, and what training changed."""
    hashes = [
        _hash("base, when it was loaded", proof.base_before),
        _hash("base, with the adapter off", proof.base_now) | _verdict(proof.base_is_equal, "equal", "not equal"),
        _hash("tuned, with the adapter on", proof.tuned) | _verdict(proof.tuned_differs, "differs", "same as base"),
    ]
    receipt = render_part(
        TEMPLATE,
        "receipt",
        pane=label(Pane.from_key(proof.pane)),
        sentences=proof.sentences(),
        hashes=hashes,
        tokens=count(proof.tokens, "token"),
        made=when(proof.made),
    )
    return receipt + moved_text(proof.moved)


def moved_text(moved: Moved) -> Markup:
    """Which weights training changed and how much, in percent of their norm."""
    return render_part(
        TEMPLATE,
        "moved",
        is_nothing=moved.is_nothing,
        kinds=_bars(moved.kinds),
        layers=_bars(moved.layers),
        embeddings=[_rows(part) for part in moved.embeddings],
    )


def change(share: float) -> str:
    """A relative change as a percentage with two significant digits: 12%, 0.013%."""
    value = share * 100
    if not value:
        return "0%"
    return f"{value:,.0f}%" if value >= 9.95 else f"{value:.2g}%" if value >= 0.0001 else "under 0.0001%"


def _hash(name: str, value: str | None) -> dict:
    short = cut(value, HASH_CHARACTERS) if value else ""
    return {"name": name, "value": value, "short": short, "is_good": None, "verdict": ""}


def _verdict(is_good: bool | None, yes: str, no: str) -> dict:
    """`is_good` is None when there is nothing to compare with."""
    words = {True: yes, False: no, None: "nothing to compare with"}
    return {"is_good": is_good, "verdict": words[is_good]}


def _bars(groups: tuple[GroupMoved, ...]) -> list[dict[str, str]]:
    largest = max((group.change for group in groups), default=0) or 1.0
    return [
        {"name": group.name, "width": f"{group.change / largest * 100:.1f}%", "change": change(group.change)}
        for group in groups
    ]


def _rows(part: RowsMoved) -> dict:
    are_one = ", tied into one tensor" if " and " in part.name else ""
    return {
        "name": part.name + are_one,
        "change": change(part.change),
        "moved": "All" if part.rows_moved == part.rows else f"{part.rows_moved:,}",
        "rows": count(part.rows, "row"),
        "tokens": [{"id": token.id, "text": token.text, "change": change(token.change)} for token in part.most],
    }
