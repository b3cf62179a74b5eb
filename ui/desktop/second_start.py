"""A second start on the same port and runs folder: shows the page of the first, instead of failing.

The first is recognised by a key in the runs folder. The second start sends it a random number, and the answer is that
number's HMAC with the key. So whoever has no access to the folder learns nothing from the route, can be no other
program in its place, and two programs with different runs are kept apart.
"""

import hmac
import os
import re
import secrets
import urllib.request
import webbrowser
from http.client import HTTPException
from pathlib import Path

from core.problems import tr
from ui.access import RUNNING, is_loopback
from ui.desktop.window import Window
from ui.listening import why_not_listening

KEY, HEX = "page.key", re.compile("[0-9a-f]{64}")
ANYWHERE = {"", "0.0.0.0", "::", "[::]"}  # addresses to listen on, but not to ask
ANSWER_SECONDS = 10  # a program that is still importing its libraries answers slowly


def make_key(runs_dir: Path) -> None:
    """Makes the key of a runs folder, which only its owner can read, unless there is one. Raises OSError."""
    if read_key(runs_dir):
        return
    aside = runs_dir / f".part-{KEY}-{secrets.token_hex(4)}"
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    aside.replace(runs_dir / KEY)


def read_key(runs_dir: Path) -> str:
    """The key of a runs folder: 64 hexadecimal digits, or empty if there is none."""
    file = runs_dir / KEY
    text = file.read_text(encoding="ascii", errors="replace") if file.is_file() else ""
    return text if HEX.fullmatch(text) else ""


def proof(key: str, number: str) -> str:
    """What only a program can answer that has read the key."""
    return hmac.digest(bytes.fromhex(key), number.encode("ascii"), "sha256").hex()


def page_of_another(host: str, port: int, runs_dir: Path) -> str:
    """The address of the page if a HearthTune with the same runs listens on this port of this machine, else empty."""
    name = "127.0.0.1" if host in ANYWHERE else host
    key = read_key(runs_dir) if is_loopback(name) and why_not_listening(host, port) else ""
    if not key:
        return ""
    url, number = f"http://{name}:{port}/", secrets.token_hex(32)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url.rstrip('/')}{RUNNING}{number}", timeout=ANSWER_SECONDS) as response:
            answer = response.read(len(key))
    except (OSError, HTTPException):  # another program, which knows no such page or does not speak HTTP
        return ""
    return url if hmac.compare_digest(answer, proof(key, number).encode()) else ""


def shows_another(host: str, port: int, runs_dir: Path, in_window: bool, inbrowser: bool) -> bool:
    """Shows the page of a HearthTune that already runs there, with one sentence in the terminal.

    Returns whether there is one.
    """
    url = page_of_another(host, port, runs_dir)
    if not url:
        return False
    sentence = tr(
        "HearthTune is already running with these runs, at {url}; to use other options, end it first.", url=url
    )
    print(sentence, flush=True)
    if in_window:
        Window(url, runs_dir, outlives_us=True).open()
    elif inbrowser:
        webbrowser.open(url)
    return True
