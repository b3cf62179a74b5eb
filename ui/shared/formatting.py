"""Figures, names and notices as the page writes them."""

from datetime import datetime
from typing import Any, Literal

from markupsafe import Markup

from core.problems import LANGUAGE, tr
from core.runs.adapter_ref import Pane
from core.settings.paths import last_part
from ui.shared.html import render_part

DAY = 86400  # seconds


def gib(value: float | None) -> str:
    """Memory in GiB, with as many digits as matter."""
    if value is None:
        return tr("unknown")
    if value >= 10:
        return f"{value:.1f} GiB"
    if value >= 0.095:
        return f"{value:.2f} GiB"
    return f"{value * 1024:.0f} MiB" if value > 0.004 else f"{value * 1024:.2f} MiB"


def duration(seconds: float) -> str:
    """0:07, 12:30 or 1:02:03; 9 days where the hours do not matter any more."""
    if seconds >= 2 * DAY:
        return tr("{days:,.0f} days", days=seconds / DAY)
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def count(number: int, thing: str, things: str = "") -> str:
    """1 row, 2,000 rows. Only in English: what a person reads is a `trn` of its own."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def run_label(run_id: str, name: str = "") -> str:
    """A run's name with the time it was started, 21 Nov 23:53; without a `name` it is made of the run's id."""
    try:
        when = datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S")
    except ValueError:
        return name or run_id
    return f"{name or run_id[16:]}, {day_and_time(when)}"


def day_and_time(moment: datetime) -> str:
    """21 Nov 23:53, where the year does not matter."""
    return f"{_day(moment, 'MMMd')} {moment:%H:%M}"


def _day(moment: datetime, parts: Literal["MMMd", "yMMMd"]) -> str:
    """21 Nov, or 21 Nov 2025 if the parts, which are named as in Unicode's CLDR, include the year."""
    if LANGUAGE == "en":
        return f"{moment.day} {moment:%b %Y}" if "y" in parts else f"{moment.day} {moment:%b}"
    from babel.dates import format_skeleton  # only other languages than English need it

    return format_skeleton(parts, moment, locale=LANGUAGE)


def pane_label(pane: Pane, name: str = "") -> str:
    """Base, or the run's name, with the step of its checkpoint: demo-yoda, 21 Nov 23:53, step 40."""
    if pane.is_base:
        return tr("Base")
    run = run_label(pane.run_id, name)
    return run if pane.step is None else tr("{run}, step {step:,}", run=run, step=pane.step)


def big(number: int) -> str:
    """A number of weights: 1.24 B, 260 K."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)


def rate(value: float) -> str:
    """A learning rate: 2e-4."""
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}" if value else "0"


def percent(share: float | None) -> str:
    """A share between 0 and 1 as a percentage."""
    if share is None:
        return "–"
    return f"{share:.0%}" if share in (0, 1) or share >= 0.1 else f"{share:.1%}"


def notice(text: str, kind: str = "info") -> Markup:
    """A sentence where the person is looking. `kind` is info, good, warning or error; empty text shows nothing."""
    return render_part("shared/parts.html", "notice", text=text, kind=kind)


def bar(share: float, label: str) -> Markup:
    """A progress or memory bar; `share` is between 0 and 1."""
    return render_part("shared/parts.html", "bar", share=share, label=label)


def loss(value: float | None) -> str:
    """A loss with four decimals; a dash when there is none."""
    return "–" if value is None else figure(value) if abs(value) >= 1000 else f"{value:.4f}"


def duration_or_dash(seconds: float | None) -> str:
    """A duration; a dash for one that is missing or impossible."""
    return "–" if seconds is None or not 0 <= seconds < 1e9 else duration(seconds)


def when(seconds: float) -> str:
    """21 Nov 2025 23:53, in this machine's time zone."""
    try:
        moment = datetime.fromtimestamp(seconds)
    except (OverflowError, ValueError, OSError):  # a damaged history may have any year
        return tr("unknown")
    return f"{_day(moment, 'yMMMd')} {moment:%H:%M}"


def data_name(path: str) -> str:
    """The last part of a path, and how many more there are; a Hugging Face name as it is."""
    lines = path.splitlines()
    if not lines:
        return ""
    is_file = "." in last_part(lines[0]) or "\\" in lines[0] or lines[0].startswith(("/", ".", "~"))
    first = last_part(lines[0]) if is_file else lines[0]
    return tr("{first} + {count} more", first=first, count=len(lines) - 1) if len(lines) > 1 else first


def disk(size: int) -> str:
    """Bytes in the units of disks (1 GB is 10^9 bytes): 1.2 GB, 35 MB."""
    if size >= 1e8:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(size / 1e3, 1):.0f} kB"


def size(value: float) -> str:
    """Memory as precisely as an estimate is: 5.2 GiB, with more digits for small sizes."""
    return f"{value:.1f} GiB" if value >= 0.95 else gib(value)


def pace(seconds: float) -> str:
    """The time of one step: 0.25 s, 42 s or 2:05."""
    if seconds >= 100:
        return duration(seconds)
    return tr("{seconds:.2f} s", seconds=seconds) if seconds < 10 else tr("{seconds:.0f} s", seconds=seconds)


def figure(value: float) -> str:
    """Three significant digits, whatever the size."""
    if value and not 0.001 <= abs(value) < 10_000:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def cut(text: str, most: int) -> str:
    """At most that many characters of the text, and an ellipsis where there are more."""
    return text if len(text) <= most else f"{text[:most]}…"


def setting_text(name: str, value: Any, between: str = "\n") -> str:
    """The value of the setting of that dotted name: none, yes, 16, 2e-4; of a list, its values with `between` them."""
    if value is None or value == "" or value == []:
        return tr("none")
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, list):
        return between.join(map(str, value))
    if name.endswith("learning_rate"):
        return rate(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
