"""Who gets in: a key where there is a network, loopback alone where there is none."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from console_line import Conveyor, line_config, running_console

from dashboards.console.service import ConsoleService, listen
from taktwatch.bus.connect import open_bus
from taktwatch.errors import ConfigError
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics

KEY = {"TAKTWATCH_API_KEY": "a long secret"}
ASKED = ["/v1/stations", "/v1/stream", "/v1/openapi.json", "/metrics", "/v1/no-such-thing"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "line-pc"])  # noqa: S104 - that is what is refused
def test_a_network_without_a_key_is_refused(tmp_path: Path, host: str) -> None:
    config = line_config(console={"host": host, "port": 0})
    bus = open_bus(f"sqlite:///{tmp_path}/bus", config.kafka, client="test")
    store = open_store(f"sqlite:///{tmp_path}/kpis.sqlite", {})
    with pytest.raises(ConfigError, match=r"set TAKTWATCH_API_KEY"):
        ConsoleService(config, bus, Topics(), store, environ={})
    ConsoleService(config, bus, Topics(), store, environ=KEY)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_console(tmp_path / "a") as first:
            port = int(first.url.rpartition(":")[2])
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
                async with running_console(tmp_path / "b", port=port):
                    pass

    asyncio.run(main())


def test_answers_do_not_wait_for_more_to_send() -> None:
    async def main() -> bool:
        accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        with listen("127.0.0.1", 0) as door:
            server = await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), sock=door)
            _, client = await asyncio.open_connection(*door.getsockname())
            writer = await accepted.get()
            delayed = not writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for end in (client, writer):
                end.close()
                await end.wait_closed()
            server.close()
            return delayed

    assert not asyncio.run(main())


def test_with_a_key_everything_but_the_bare_page_and_health_wants_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_console(tmp_path, environ=KEY) as console, httpx.AsyncClient(base_url=console.url) as client:
            for path in ASKED:
                refused = await client.get(path)
                assert refused.status_code == 401, path
                assert refused.json()["error"] == "unauthorized"
            wrong = await client.get("/v1/stations", headers={"Authorization": "Bearer a long secre"})
            assert wrong.status_code == 401
            right = await client.get("/v1/stations", headers={"Authorization": "Bearer a long secret"})
            assert right.status_code == 200
            for path in ("/", "/static/app.js", "/healthz", "/readyz"):
                assert (await client.get(path)).status_code == 200, path

    asyncio.run(main())


def test_logging_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_console(tmp_path, environ=KEY) as console, httpx.AsyncClient(base_url=console.url) as client:
            refused = await client.post("/login", data={"key": "guess"})
            assert refused.status_code == 401
            assert "set-cookie" not in refused.headers
            taken = await client.post("/login", data={"key": "a long secret"})
            assert taken.status_code == 204
            cookie = taken.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert "a long secret" not in cookie
            assert (await client.get("/v1/stations")).status_code == 200
            await client.post("/logout")
            assert (await client.get("/v1/stations")).status_code == 401
            client.cookies.set("taktwatch_session", "99999999999.forged")
            assert (await client.get("/v1/stations")).status_code == 401

    asyncio.run(main())


def test_a_login_survives_a_restart_of_the_console(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_console(tmp_path, environ=KEY) as console, httpx.AsyncClient(base_url=console.url) as client:
            await client.post("/login", data={"key": "a long secret"})
            cookies = dict(client.cookies)
        async with (
            running_console(tmp_path, environ=KEY) as console,
            httpx.AsyncClient(base_url=console.url, cookies=cookies) as client,
        ):
            assert (await client.get("/v1/stations")).status_code == 200

    asyncio.run(main())


def test_without_a_key_a_foreign_name_for_loopback_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_console(tmp_path) as console, httpx.AsyncClient(base_url=console.url) as client:
            assert (await client.get("/v1/stations")).status_code == 200
            assert (await client.get("/v1/stations", headers={"Host": "localhost:99"})).status_code == 200
            rebound = await client.get("/v1/stations", headers={"Host": "evil.example"})
            assert rebound.status_code == 421
            assert "evil.example" in rebound.json()["detail"]

    asyncio.run(main())


def test_every_answer_forbids_foreign_content(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_console(tmp_path) as console, httpx.AsyncClient(base_url=console.url) as client:
            result = await Conveyor(console.bus, Topics()).board(0)
            for path in ("/", "/static/style.css", "/v1/stations", f"/v1/frames/{result.frame_id}/picture"):
                headers = (await client.get(path)).headers
                assert headers["content-security-policy"].startswith("default-src 'self'"), path
                assert "unsafe" not in headers["content-security-policy"]
                assert headers["x-content-type-options"] == "nosniff"

    asyncio.run(main())
