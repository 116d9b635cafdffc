"""What every route stands on, and how a route finds a board."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from dashboards.console.history import search, verdict_from
from dashboards.console.hub import Hub
from dashboards.console.live import LiveLine
from dashboards.console.shelf import Shelf
from dashboards.console.view import Board, board_named, board_verdict, find_board, is_alone
from taktwatch.records import Verdict
from taktwatch.store import KpiStore

__all__ = ["Context", "Here", "board_or_404", "verdict_on"]

AROUND = timedelta(hours=1)
"""A frame asked for with a time is looked for this long after it in the log."""


@dataclass(frozen=True)
class Context:
    """The parts of a running console. `key` None: loopback only, nobody is asked; One key is tried at a time."""

    live: LiveLine
    hub: Hub
    shelf: Shelf
    store: KpiStore
    key: str | None
    door: asyncio.Lock = field(default_factory=asyncio.Lock)


def context_of(request: Request) -> Context:
    """Return the console that a request came to."""
    context: Context = request.app.state.console
    return context


Here = Annotated[Context, Depends(context_of)]


async def board_or_404(console: Context, frame_id: str, logged_after: datetime | None = None) -> Board:
    """Return the board of a frame from the live view, or from the log around a time. Raises 404 naming the frame."""
    if board := find_board(console.live.view, frame_id):
        return board
    if logged_after is not None:
        live = console.live
        found = await search(
            live.bus,
            live.topics.results,
            since=logged_after,
            until=logged_after + AROUND,
            wanted=lambda result: result.frame_id == frame_id and result.line == live.config.line,
            limit=1,
        )
        if found:
            return found[0]
        raise HTTPException(
            404, f"no result of frame {frame_id} was logged in the hour after {logged_after.isoformat()}"
        )
    raise HTTPException(
        404, f"no result of frame {frame_id} among the newest boards; for an older one add ?logged_after=TIME (UTC)"
    )


async def verdict_on(console: Context, board: Board) -> Verdict | None:
    """Return the verdict of the board that a picture shows: what its pictures say together; None where none is known.

    That of a board of several pictures comes from the live view, or from the log after the picture's result.
    """
    live, result = console.live, board.result
    known = board_verdict(live.view, result)
    if known is not None or is_alone(live.view, result):
        return known
    since = board.logged_at - AROUND
    found = await verdict_from(
        live.bus, live.topics.boards, board_named(result), since=since, until=board.logged_at + AROUND
    )
    return None if found is None else found.verdict
