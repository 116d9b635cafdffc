"""The console as a service: follows the line, and serves its page and API until told to stop."""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import uuid4

import structlog
import uvicorn

from dashboards.console.api import create_app
from dashboards.console.context import Context
from dashboards.console.guard import check_binding
from dashboards.console.hub import Hub
from dashboards.console.live import LiveLine
from dashboards.console.shelf import Shelf
from taktwatch.bus import Bus
from taktwatch.config import LineConfig
from taktwatch.errors import ConfigError
from taktwatch.store import KpiStore
from taktwatch.topics import Topics

__all__ = ["ConsoleService"]

KEY_VARIABLE = "TAKTWATCH_API_KEY"
PARTING_S = 3
"""How long open requests may take to end once the service stops."""

log = structlog.get_logger()


class Server(uvicorn.Server):
    """A uvicorn that leaves signals to the program it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no handlers."""
        yield


class ConsoleService:
    """Serves one line's page and API. `url` is known once `listening` is set; port 0 takes a free one.

    Raises `ConfigError` where it would be open to a network without TAKTWATCH_API_KEY, and where the port is taken.
    """

    def __init__(
        self, config: LineConfig, bus: Bus, topics: Topics, store: KpiStore, *, environ: Mapping[str, str] = os.environ
    ) -> None:
        key = environ.get(KEY_VARIABLE) or None
        check_binding(config.console.host, key)
        self.config = config
        self.hub = Hub(uuid4().hex[:12])
        self.live = LiveLine(config, bus, topics, store, self.hub)
        self.app = create_app(Context(live=self.live, hub=self.hub, shelf=Shelf(bus), store=store, key=key))
        self.url = ""
        self.listening = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then end the streams, answer what was asked, and return."""
        with listen(self.config.console.host, self.config.console.port) as door:
            server = Server(
                uvicorn.Config(
                    self.app,
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    timeout_graceful_shutdown=PARTING_S,
                    lifespan="off",
                )
            )
            self.url = address(door)
            following = asyncio.create_task(self.live.run(), name="console follows the line")
            serving = asyncio.create_task(server.serve(sockets=[door]), name="console serves")
            stopping = asyncio.create_task(stop.wait(), name="console waits for the end")
            log.info("console", url=self.url)
            self.listening.set()
            try:
                await asyncio.wait({following, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.hub.close()
                server.should_exit = True
                stopping.cancel()
                following.cancel()
                outcomes = await asyncio.gather(following, serving, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `ConfigError` where host or port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: asyncio turns Nagle's delay off (40 ms an answer) only where the protocol is given.
    door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise ConfigError(
            f"the console cannot listen on {host}:{port}: {error.strerror}; "
            "set another console.port (or TAKTWATCH_CONSOLE__PORT)"
        ) from error
    door.listen(128)
    return door


def address(door: socket.socket) -> str:
    """Return the URL of a listening socket; one bound to all addresses is named by loopback."""
    host, port = door.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
