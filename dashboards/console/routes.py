"""The routes that answer questions about boards, stations and alerts. Every picture comes from the log."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from dashboards.console.context import Here, board_or_404, verdict_on
from dashboards.console.history import search
from dashboards.console.present import alerts_out, board_out, detail_out, outlines_out, overlay_svg
from dashboards.console.schema import (
    AlertsOut,
    ErrorOut,
    LineOut,
    OutlinesOut,
    ResultDetail,
    ResultsOut,
    SnapshotOut,
    StationsOut,
)
from dashboards.console.view import verdict_name
from taktwatch.records import InspectionResult

__all__ = ["router"]

FOREVER = "private, max-age=31536000, immutable"
"""What is named by a frame id never changes."""

Verdicts = Literal["pass", "fail", "review", "skipped", "dead"]
FrameId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="32 hexadecimal digits")]
LoggedAfter = Annotated[datetime | None, Query(description="look in the log from this time on, for an hour")]

router = APIRouter(
    prefix="/v1",
    responses={401: {"model": ErrorOut}, 404: {"model": ErrorOut}, 422: {"model": ErrorOut}, 503: {"model": ErrorOut}},
)


@router.get("/line", tags=["live"])
async def line(console: Here) -> LineOut:
    """Name the line, the clocks, and whether bus and store answer."""
    return console.live.line()


@router.get("/snapshot", tags=["live"])
async def snapshot(console: Here) -> SnapshotOut:
    """Give what a page begins with: stations, newest boards, alerts."""
    return console.live.snapshot()


@router.get("/stations", tags=["live"])
async def stations(console: Here) -> StationsOut:
    """Give every station's state, last mark and last board."""
    return console.live.stations()


@router.get("/alerts", tags=["live"])
async def alerts(console: Here) -> AlertsOut:
    """Give the alerts not resolved, and the newest transitions."""
    return alerts_out(console.live.view)


@router.get("/results", tags=["results"])
async def results(
    *,
    console: Here,
    station: str | None = None,
    verdict: Verdicts | None = None,
    since: Annotated[datetime | None, Query(description="from the log, by log time, oldest first")] = None,
    until: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> ResultsOut:
    """Give the newest results, newest first; with `since`, results from the log, oldest first."""
    live = console.live
    if since is None:
        return ResultsOut(results=live.boards(station, verdict, limit))

    def wanted(result: InspectionResult) -> bool:
        return (
            result.line == live.config.line
            and station in (None, result.station)
            and verdict in (None, verdict_name(result))
        )

    found = await search(live.bus, live.topics.results, since=since, until=until, wanted=wanted, limit=limit)
    return ResultsOut(results=tuple(board_out(board) for board in found))


@router.get("/results/{frame_id}", tags=["results"])
async def result(console: Here, frame_id: FrameId, logged_after: LoggedAfter = None) -> ResultDetail:
    """Give everything recorded about one frame, and the verdict of its board."""
    board = await board_or_404(console, frame_id, logged_after)
    return detail_out(board, await verdict_on(console, board))


@router.get("/frames/{frame_id}/picture", tags=["pictures"], response_class=Response)
async def picture(request: Request, console: Here, frame_id: FrameId, logged_after: LoggedAfter = None) -> Response:
    """Give the picture exactly as captured; its ETag is its SHA-256."""
    board = await board_or_404(console, frame_id, logged_after)
    etag = f'"{board.result.sha256}"'
    headers = {"ETag": etag, "Cache-Control": FOREVER}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    captured = await console.shelf.picture(board.result)
    return Response(captured.body, media_type=captured.media_type, headers=headers)


@router.get("/frames/{frame_id}/thumbnail.jpg", tags=["pictures"], response_class=Response)
async def thumbnail(
    console: Here, frame_id: FrameId, w: Annotated[int, Query(ge=32, le=2048)] = 320, logged_after: LoggedAfter = None
) -> Response:
    """Give the picture as JPEG of at most `w` px across."""
    board = await board_or_404(console, frame_id, logged_after)
    small = await console.shelf.thumbnail(board.result, w)
    return Response(small, media_type="image/jpeg", headers={"Cache-Control": FOREVER})


@router.get("/frames/{frame_id}/outlines", tags=["pictures"])
async def outlines(
    response: Response, console: Here, frame_id: FrameId, logged_after: LoggedAfter = None
) -> OutlinesOut:
    """Give the edges of every detection as polygons in frame pixels."""
    board = await board_or_404(console, frame_id, logged_after)
    response.headers["Cache-Control"] = FOREVER
    return outlines_out(board.result, await console.shelf.outlines(board.result))


@router.get("/frames/{frame_id}/overlay.svg", tags=["pictures"], response_class=Response)
async def overlay(console: Here, frame_id: FrameId, logged_after: LoggedAfter = None) -> Response:
    """Give the outlines as an SVG to lay over the picture."""
    board = await board_or_404(console, frame_id, logged_after)
    drawn = outlines_out(board.result, await console.shelf.outlines(board.result))
    return Response(overlay_svg(drawn), media_type="image/svg+xml", headers={"Cache-Control": FOREVER})
