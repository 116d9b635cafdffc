"""For machines: is it alive, is it ready, and what does it count."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dashboards.console.context import Here
from dashboards.console.schema import ReadyOut
from taktwatch import clock
from taktwatch.errors import TaktwatchError
from taktwatch.store import KpiQuery

__all__ = ["router"]

PATIENCE_S = 3.0

router = APIRouter(tags=["health"])


@router.get("/healthz", response_class=Response)
async def healthz() -> Response:
    """Say that the process answers."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz", responses={503: {"model": ReadyOut}})
async def readyz(response: Response, console: Here) -> ReadyOut:
    """Say whether bus and store answer, part by part; 503 where one does not."""
    now = clock.now()
    probe = KpiQuery(window="1m", since=now - timedelta(minutes=1), until=now, line=console.live.config.line)
    bus, store = await asyncio.gather(
        state_of(console.live.bus.spans(console.live.topics.results)), state_of(console.store.read(probe))
    )
    ready = bus == store == "ok"
    response.status_code = 200 if ready else 503
    return ReadyOut(ready=ready, parts={"bus": bus, "store": store})


async def state_of(question: Awaitable[object]) -> str:
    """Ask a backend; return 'ok' or what is wrong."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await question
    except TaktwatchError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {PATIENCE_S:g} s"
    return "ok"


@router.get("/metrics", response_class=Response)
async def metrics() -> Response:
    """Give the metrics of this process for Prometheus."""
    return Response(await asyncio.to_thread(generate_latest), headers={"Content-Type": CONTENT_TYPE_LATEST})
