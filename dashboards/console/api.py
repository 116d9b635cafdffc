"""The web application put together: routes, page, errors in one shape, and the guard before all of it."""

from pathlib import Path
from time import perf_counter

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboards.console import control, health, numbers, reviewing, routes, session, stream
from dashboards.console.context import Context
from dashboards.console.guard import Guard
from dashboards.console.metrics import REQUEST_SECONDS
from taktwatch import __version__
from taktwatch.errors import BackendUnavailable, BadInput, RecordNotFound, TaktwatchError

__all__ = ["create_app"]

STATIC = Path(__file__).parent / "static"
TITLES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "bad_request",
    429: "busy",
    503: "unavailable",
}


def create_app(context: Context) -> FastAPI:
    """Return the application of one console. The page is served by itself: nothing is loaded from elsewhere."""
    app = FastAPI(
        title="taktwatch console",
        version=__version__,
        description="What a line inspects, live and looked back at; and what people say of its verdicts.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        middleware=[Middleware(Guard, key=context.key), Middleware(Timed)],
    )
    app.state.console = context
    for part in (routes, numbers, control, reviewing, stream, session, health):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/favicon.ico", favicon, include_in_schema=False)
    app.exception_handler(HTTPException)(refused)
    app.exception_handler(RequestValidationError)(misasked)
    app.exception_handler(TaktwatchError)(failed)
    return app


class Timed:
    """ASGI middleware: how long each route takes to answer; streams are left out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer and observe."""
        began = perf_counter()
        await self.app(scope, receive, send)
        route = getattr(scope.get("route"), "path", None)
        if route is not None and route != "/v1/stream":
            REQUEST_SECONDS.labels(route=route).observe(perf_counter() - began)


async def page() -> FileResponse:
    """Serve the page; it holds no data and asks for what it shows."""
    return FileResponse(STATIC / "index.html")


async def favicon() -> FileResponse:
    """Serve the icon where browsers look for it unasked."""
    return FileResponse(STATIC / "favicon.svg", media_type="image/svg+xml")


async def refused(_: Request, error: HTTPException) -> JSONResponse:
    """Give an HTTP error its JSON shape."""
    body = {"error": TITLES.get(error.status_code, "refused"), "detail": str(error.detail)}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def misasked(_: Request, error: RequestValidationError) -> JSONResponse:
    """Say in one line which parameter is wrong, and how."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    detail = f"{where}: {first['msg']} (got {str(first.get('input'))[:80]!r})"
    return JSONResponse({"error": TITLES[422], "detail": detail}, status_code=422)


async def failed(_: Request, error: TaktwatchError) -> JSONResponse:
    """Say what went wrong behind the console: gone, damaged, or away for now."""
    match error:
        case RecordNotFound():
            status = 404
        case BadInput():
            status = 422
        case BackendUnavailable():
            status = 503
        case _:
            status = 500
    return JSONResponse({"error": TITLES.get(status, "failed"), "detail": str(error)}, status_code=status)
