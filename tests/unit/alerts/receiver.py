"""A receiver of notifications: a real HTTP server that keeps what it was sent and answers as it is told."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any


@dataclass
class Receiver:
    """`status` is what it answers now; `posts` are key and body of every request, `delivered` of those answered 200.

    `before_answer` is called with a request in hand: a test kills the sender there.
    """

    status: int = 200
    port: int = 0
    posts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    delivered: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    before_answer: Callable[[], None] | None = None
    lock: Lock = field(default_factory=Lock)

    @property
    def keys(self) -> list[str]:
        """Idempotency keys of what was delivered."""
        with self.lock:
            return [key for key, _ in self.delivered]

    @property
    def states(self) -> list[str]:
        """States of what was delivered."""
        with self.lock:
            return [body["state"] for _, body in self.delivered]

    def take(self, key: str, body: dict[str, Any]) -> int:
        """Keep a request and answer it."""
        with self.lock:
            self.posts.append((key, body))
            if self.status == 200:
                self.delivered.append((key, body))
            return self.status


@contextmanager
def receiver(status: int = 200) -> Iterator[Receiver]:
    """Run a receiver on a free port of loopback."""
    kept = Receiver(status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if kept.before_answer is not None:
                kept.before_answer()
            self.send_response(kept.take(self.headers.get("Idempotency-Key", ""), body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_port
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
