"""Serves the files of exports to the browser: one file, or all of an export as a zip file made while it is sent."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from core.export.record import Exported, load_exports
from core.problems import RunError, mark, tr
from core.workbench.workbench import Workbench
from ui.visitors import drawing_for, visitor_of

ROUTE = "/export-file"
GONE = mark("This export is no longer there; export the run again.")
PIECE = 2**20  # bytes read at once


class Downloads:
    """The route. A visitor gets only exports of their own runs."""

    def __init__(self, workbench: Workbench):
        self._workbench = workbench

    def route(self) -> Route:
        return Route(ROUTE, self._answer)

    async def _answer(self, request: Request) -> Response:
        asked = request.query_params
        found = await run_in_threadpool(
            self._find, visitor_of(request.scope), asked.get("run", ""), asked.get("made", "")
        )
        if found is None:
            return PlainTextResponse(tr(GONE), 404)
        files, name = {file.path.name: file.path for file in found.files}, asked.get("name", "")
        if not name:
            headers = {"content-disposition": f'attachment; filename="{found.out.name}.zip"'}
            return StreamingResponse(zipped(list(files.values())), media_type="application/zip", headers=headers)
        if name not in files:
            return PlainTextResponse(tr(GONE), 404)
        return FileResponse(files[name], filename=name, media_type="application/octet-stream")

    def _find(self, visitor: str, run_id: str, made: str) -> Exported | None:
        with drawing_for(visitor):
            try:
                run = self._workbench.runs.open(run_id)
            except RunError:
                return None
        return next((one for one in load_exports(run) if repr(one.made) == made), None)


class _Sent:
    """A file that `zipfile` writes to, and from which what it wrote is taken to be sent."""

    def __init__(self):
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def zipped(files: Sequence[Path]) -> Iterator[bytes]:
    """The files as one zip file, piece by piece and uncompressed: weights do not become smaller."""
    sent = _Sent()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            about = zipfile.ZipInfo.from_file(path, path.name)
            with open(path, "rb") as file, archive.open(about, "w", force_zip64=True) as into:
                while piece := file.read(PIECE):
                    into.write(piece)
                    yield sent.take()
    yield sent.take()
