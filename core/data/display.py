"""Names from people's files, prepared for display in a sentence."""

from collections.abc import Sequence

from core.problems import tr

MAX_NAME = 100  # characters


def for_display(name: str) -> str:
    """The name on one line, without unprintable characters, and shortened in the middle when it is very long."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return name if len(name) <= MAX_NAME else f"{name[:60]}…{name[-30:]}"


def first_names(names: Sequence[str], limit: int) -> str:
    """The first `limit` names with commas between them, and how many more there are: "a, b and 3 more"."""
    first = ", ".join(map(for_display, names[:limit]))
    return tr("{names} and {more:,} more", names=first, more=len(names) - limit) if len(names) > limit else first
