"""A proof as a receipt: what was compared, and which weights changed."""

from collections.abc import Callable

from markupsafe import Markup

from core.comparing.proof import Proof
from core.model.weight_changes import GroupMoved, Moved, RowsMoved
from core.problems import mark, tr, trn
from core.runs.adapter_ref import Pane
from ui.shared.formatting import cut, pane_label, when
from ui.shared.html import render_part

TEMPLATE = "compare/proof.html"
OUTSIDE = mark("outside the layers")  # as `core.model.weight_changes` calls the place
HASH_CHARACTERS = 16  # of a hash that are shown; its title has all 64


def proof_text(proof: Proof, label: Callable[[Pane], str] = pane_label) -> Markup:
    """The sentences, the hashes behind them, and what training changed."""
    hashes = [
        _hash(tr("base, when it was loaded"), proof.base_before),
        _hash(tr("base, with the adapter off"), proof.base_now)
        | _verdict(proof.base_is_equal, tr("equal"), tr("not equal")),
        _hash(tr("tuned, with the adapter on"), proof.tuned)
        | _verdict(proof.tuned_differs, tr("differs"), tr("same as base")),
    ]
    receipt = render_part(
        TEMPLATE,
        "receipt",
        pane=label(Pane.from_key(proof.pane)),
        sentences=proof.sentences(),
        hashes=hashes,
        tokens=proof.tokens,
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
    return f"{value:,.0f}%" if value >= 9.95 else f"{value:.2g}%" if value >= 0.0001 else tr("under 0.0001%")


def _hash(name: str, value: str | None) -> dict:
    short = cut(value, HASH_CHARACTERS) if value else ""
    return {"name": name, "value": value, "short": short, "is_good": None, "verdict": ""}


def _verdict(is_good: bool | None, yes: str, no: str) -> dict:
    """`is_good` is None when there is nothing to compare with."""
    words = {True: yes, False: no, None: tr("nothing to compare with")}
    return {"is_good": is_good, "verdict": words[is_good]}


def _bars(groups: tuple[GroupMoved, ...]) -> list[dict[str, str]]:
    largest = max((group.change for group in groups), default=0) or 1.0
    return [
        {"name": _place(group.name), "width": f"{group.change / largest * 100:.1f}%", "change": change(group.change)}
        for group in groups
    ]


def _place(name: str) -> str:
    """The name of a group: of a kind of layer as it is, of a place among the layers in the person's language."""
    if name == OUTSIDE:
        return tr(OUTSIDE)
    is_layer, _, number = name.partition("layer ")
    return name if is_layer or not number else tr("layer {number}", number=number)


def _rows(part: RowsMoved) -> dict:
    first, _, other = part.name.partition(" and ")
    if part.rows_moved == part.rows:
        moved = trn(
            "All of its {count:,} row changed; each row is a token.",
            "All of its {count:,} rows changed; each row is a token.",
            part.rows,
        )
    else:
        moved = trn(
            "{moved:,} of its {count:,} row changed; each row is a token.",
            "{moved:,} of its {count:,} rows changed; each row is a token.",
            part.rows,
            moved=part.rows_moved,
        )
    return {
        "name": tr("{first} and {other}, tied into one tensor", first=first, other=other) if other else part.name,
        "change": change(part.change),
        "moved": moved,
        "tokens": [{"id": token.id, "text": token.text, "change": change(token.change)} for token in part.most],
    }
