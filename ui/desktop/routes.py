"""What a browser needs to install the page as an app: the manifest and the icons. And the answer to a second start."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from core.problems import tr
from ui.access import ICONS, MANIFEST, RUNNING
from ui.desktop.second_start import HEX, make_key, proof, read_key

FOLDER = Path(__file__).resolve().parent.parent / "icons"
# Relative to the manifest's own address, so that the page may be below a path of a proxy.
PICTURES = [
    {"src": "icons/icon-192.png", "sizes": "192x192", "type": "image/png", "purpose": "any"},
    {"src": "icons/icon-512.png", "sizes": "512x512", "type": "image/png", "purpose": "any"},
    {"src": "icons/maskable-512.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"},
    {"src": "icons/favicon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"},
]


def manifest() -> dict:
    """The web app manifest. Gradio's own has neither colours nor icons that a system may cut to its shape."""
    return {
        "id": "./",
        "name": "HearthTune",
        "short_name": "HearthTune",
        "description": tr("Fine-tune a Llama on this computer, and see what changed."),
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "theme_color": "#ffffff",
        "background_color": "#ffffff",
        "icons": PICTURES,
    }


def routes(runs_dir: Path) -> list[Route]:
    """The routes to serve with the page. They answer before a login too, as the login form has the icon as well."""
    make_key(runs_dir)

    async def answer_manifest(request: Request) -> Response:
        return JSONResponse(manifest(), media_type="application/manifest+json")

    async def answer_icon(request: Request) -> Response:
        named = {Path(picture["src"]).name: picture["type"] for picture in PICTURES}
        name = request.path_params["name"]
        if name not in named:
            raise HTTPException(404)
        return FileResponse(FOLDER / name, media_type=named[name])

    def answer_second_start(request: Request) -> Response:
        number, key = request.path_params["number"], read_key(runs_dir)
        if not key or not HEX.fullmatch(number):
            raise HTTPException(404)
        return PlainTextResponse(proof(key, number), headers={"cache-control": "no-store"})

    return [
        Route(MANIFEST, answer_manifest),  # before Gradio's route of the same path
        Route(f"{ICONS}{{name}}", answer_icon),
        Route(f"{RUNNING}{{number}}", answer_second_start),
    ]
