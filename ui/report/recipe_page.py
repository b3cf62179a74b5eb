"""Serves the report of a recipe, made when it is asked for."""

from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from core.problems import Problem
from core.visitors.policy import Policy
from core.workbench.recipe_record import Record, find_record
from core.workbench.workbench import Workbench
from ui.report.recipe_report import make_recipe_report
from ui.report.report import POLICY

ROUTE = "/recipe-report"


def address_of(record: Record) -> str:
    """Where the page serves the report."""
    return ROUTE.removeprefix("/") + "?" + urlencode({"id": record.id})


def report_routes(workbench: Workbench, policy: Policy | None) -> list[Route]:
    """The route, which a page for visitors does not have: recipes are for whoever runs the program."""
    return [] if policy else [Route(ROUTE, _Reports(workbench).answer)]


class _Reports:
    def __init__(self, workbench: Workbench):
        self._workbench = workbench

    async def answer(self, request: Request) -> Response:
        try:
            text = await run_in_threadpool(self._text, request.query_params.get("id", ""))
        except Problem as error:
            return PlainTextResponse(str(error), 404)
        return HTMLResponse(text, headers={"content-security-policy": POLICY})

    def _text(self, record_id: str) -> str:
        runs_dir = self._workbench.runs_dir
        return make_recipe_report(runs_dir, find_record(runs_dir, record_id))
