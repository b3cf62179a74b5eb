"""Make the other icons from favicon.svg, after a change to it: `python -m ui.icons.render`.

Needs Chromium and the test tools. Everything drawn lies within 40% of the middle, so that the icon may be maskable:
there the corners are full instead of round, and the system cuts its own shape.
"""

import io
import shutil
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

FOLDER = Path(__file__).parent
SVG = FOLDER / "favicon.svg"
ROUND = 'rx="112"'
PNG = {"icon-192.png": (192, ROUND), "icon-512.png": (512, ROUND), "maskable-512.png": (512, "")}
WINDOWS_SIZES = [16, 24, 32, 48, 64, 256]
MAC_SIZES = {b"ic07": 128, b"ic08": 256, b"ic09": 512}  # by the names of these sizes in an ICNS file


def render_all(folder: Path, browser: str) -> None:
    """Writes all icons into `folder`; `browser` is the path of a Chromium."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    drawing = SVG.read_text(encoding="utf-8")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page()

        def draw(size: int, corners: str = ROUND) -> Image.Image:
            page.set_viewport_size({"width": size, "height": size})
            page.set_content(drawing.replace(ROUND, corners))
            page.add_style_tag(content="body { margin: 0; display: grid }")
            # A few flat colours: that takes a third of the bytes, and looks the same.
            return Image.open(io.BytesIO(page.screenshot(omit_background=True))).quantize(64)

        for name, (size, corners) in PNG.items():
            draw(size, corners).save(folder / name, optimize=True)
        *smaller, largest = (draw(size).convert("RGBA") for size in WINDOWS_SIZES)
        sizes = [(size, size) for size in WINDOWS_SIZES]
        largest.save(folder / "hearthtune.ico", append_images=smaller, sizes=sizes)
        pictures = {name: draw(size).convert("RGBA") for name, size in MAC_SIZES.items()}
        chromium.close()
    (folder / "hearthtune.icns").write_bytes(_icns(pictures))


def _icns(pictures: dict[bytes, "Image.Image"]) -> bytes:
    """An icon of macOS: pictures as PNG, each after its name and length. Pillow would add every size twice."""
    parts = b""
    for name, picture in pictures.items():
        picture.save(png := io.BytesIO(), "PNG", optimize=True)
        parts += name + struct.pack(">I", 8 + len(png.getvalue())) + png.getvalue()
    return b"icns" + struct.pack(">I", 8 + len(parts)) + parts


if __name__ == "__main__":
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    render_all(FOLDER, found or sys.exit("Chromium is not on the PATH."))
