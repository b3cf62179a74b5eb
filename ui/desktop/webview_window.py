"""Show a page in a window of pywebview until it is closed: `python webview_window.py URL FOLDER`.

A program of its own, because a window system wants a program's main thread. FOLDER keeps what the page stores.
"""

import sys
from pathlib import Path

import webview

ICON = Path(__file__).resolve().parent.parent / "icons" / "icon-512.png"


def show(url: str, folder: str) -> None:
    """Returns when the window has been closed."""
    webview.settings["ALLOW_DOWNLOADS"] = True
    webview.create_window("HearthTune", url, width=1440, height=900, text_select=True, zoomable=True)
    webview.start(private_mode=False, storage_path=folder, icon=str(ICON))


if __name__ == "__main__":
    show(*sys.argv[1:])
