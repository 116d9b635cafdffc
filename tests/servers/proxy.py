"""A real HTTP proxy before a real server: it passes everything on, or answers writes itself for a while."""

import http.client
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"}


@dataclass(frozen=True)
class Refusal:
    """An answer given in the server's place."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


class Proxy:
    """What it shall refuse, oldest first, and when each write came (monotonic seconds) and how it was answered."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.refusals: deque[Refusal] = deque()
        self.writes: list[tuple[float, int]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(self))
        self.server.daemon_threads = True

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server.server_address[1]}"


def handler_for(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    """Return the request handler of one proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_write = self.path.startswith("/api/v2/write")
            if is_write and proxy.refusals:
                refusal = proxy.refusals.popleft()
                self.reply(refusal.status, refusal.headers, b'{"code":"too many requests","message":"later"}')
            else:
                upstream = http.client.HTTPConnection(proxy.upstream, timeout=30)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                headers = {name: text for name, text in answer.getheaders() if name.lower() not in HOP}
                self.reply(answer.status, headers, answer.read())
                upstream.close()

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            if self.path.startswith("/api/v2/write"):
                proxy.writes.append((time.monotonic(), status))
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            if status != http.client.NO_CONTENT:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status != http.client.NO_CONTENT:
                self.wfile.write(body)

        do_GET = do_POST = pass_on  # noqa: N815 - the names http.server calls

    return Handler


@contextmanager
def proxy_before(upstream: str) -> Iterator[Proxy]:
    """Run a proxy before a server (host:port)."""
    proxy = Proxy(upstream)
    thread = threading.Thread(target=proxy.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join()
