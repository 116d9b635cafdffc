"""Logging in: a browser trades the key for a cookie that scripts cannot read and other sites cannot use."""

import asyncio
from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Request, Response

from dashboards.console.context import Here
from dashboards.console.guard import COOKIE, SESSION, key_matches, make_token
from dashboards.console.metrics import REFUSED
from taktwatch import clock

__all__ = ["router"]

MOST_FORM_BYTES = 4096
PENALTY_S = 1.0
"""A wrong key holds the door for so long: guessing is slow, however many try."""

router = APIRouter()


@router.post(
    "/login",
    tags=["session"],
    status_code=204,
    responses={401: {"description": "wrong key"}, 429: {"description": "another attempt is being checked"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
                }
            },
        }
    },
)
async def login(request: Request, console: Here) -> Response:
    """Take the key from a form and set the session cookie (12 hours)."""
    if console.key is None:
        return Response(status_code=204)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise HTTPException(413, f"a login form has at most {MOST_FORM_BYTES} bytes")
    offered = parse_qs(body.decode(errors="replace")).get("key", [""])[0]
    if console.door.locked():
        raise HTTPException(
            429, "another attempt is being checked; try again in a second", headers={"Retry-After": "1"}
        )
    async with console.door:
        if not key_matches(offered, console.key):
            REFUSED.labels(reason="login").inc()
            await asyncio.sleep(PENALTY_S)
            raise HTTPException(401, "that is not the key; it is what TAKTWATCH_API_KEY was when the console started")
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        make_token(console.key, clock.now()),
        max_age=int(SESSION.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )
    return response


@router.post("/logout", tags=["session"], status_code=204)
async def logout() -> Response:
    """Take the session cookie back."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/")
    return response
