"""The script that runs once the page has loaded, put together from the files beside what they are for."""

from pathlib import Path

from ui.gradio_patches import MEND_MARKUP

UI = Path(__file__).parent
# In a frame of another site the browser may refuse its storage; then what is chosen is forgotten with the page.
_REMEMBERED = "(() => { try { return window.localStorage; } catch { return {}; } })()"
_OWN = [(UI / name).read_text(encoding="utf-8") for name in ("shared/charts.js", "shared/errors.js", "train/run.js")]

ON_LOAD = "() => {\nconst remembered = REMEMBERED;\nSCRIPTS\n}".replace("REMEMBERED", _REMEMBERED).replace(
    "SCRIPTS", "\n".join([f"({MEND_MARKUP.strip()})();", *(f"({script.strip()})(remembered);" for script in _OWN)])
)
