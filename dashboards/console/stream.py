"""The live stream: server-sent events, from a snapshot or from where the client left off."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException
from fastapi.responses import StreamingResponse

from dashboards.console.context import Context, Here
from dashboards.console.hub import Event

__all__ = ["router"]

HEARTBEAT_S = 10.0
MOST_CLIENTS = 200
RETRY_MS = 1500

router = APIRouter()


@router.get(
    "/v1/stream",
    tags=["live"],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "events until the client leaves"}},
)
async def stream(console: Here, last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
    """Send live events: `snapshot` at first, then `result`, `mark`, `kpi`, `alert` and `status`.

    A client that does not keep up gets `resync` and the end of the stream; it should come back for a snapshot.
    A client that comes back with `Last-Event-ID` gets what it missed, or a new snapshot where that is no longer kept.
    """
    if len(console.hub.clients) >= MOST_CLIENTS:
        raise HTTPException(503, f"{MOST_CLIENTS} pages are listening already", headers={"Retry-After": "10"})
    return StreamingResponse(
        events(console, last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def events(console: Context, last_event_id: str | None) -> AsyncIterator[bytes]:
    """Yield what one client gets, until the hub closes or sends it away."""
    with console.hub.subscribe(last_event_id) as client:
        yield f"retry: {RETRY_MS}\n\n".encode()
        if client.missed is None:
            snapshot = console.live.snapshot().model_dump_json()
            yield Event(console.hub.last_id, "snapshot", snapshot).encode()
        else:
            for event in client.missed:
                yield event.encode()
        while True:
            try:
                coming = await asyncio.wait_for(client.queue.get(), HEARTBEAT_S)
            except TimeoutError:
                yield b": heartbeat\n\n"
                continue
            if coming is None:
                return
            yield coming.encode()
