"""A real InfluxDB 2 for tests: on a free port, in a folder of its own, with a token of our choice.

`influxd` is taken from PATH or, where a packed one lies beside the checkout, unpacked once into the cache.
INFLUXDB_URL names a running one (empty, or with INFLUX_ORG and INFLUX_TOKEN of an operator) instead.
"""

import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.require import missing

PACKED = Path(__file__).parents[2].parent / "shared" / "servers" / "influxd.xz"
REMEDY = "put influxd 2.9 on PATH (https://docs.influxdata.com/influxdb/v2/install/), or set INFLUXDB_URL"
START_S = 60.0
ORG = "taktwatch-tests"
TOKEN = "a-token-for-tests-alone"  # noqa: S105 - opens nothing but servers started here
LISTENING = re.compile(r"Listening.*\bport=(\d+)|\"msg\":\"Listening\".*\"port\":(\d+)")


def influxd() -> str:
    """Return the path of the server program; skips or fails where there is none."""
    if found := shutil.which("influxd"):
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taktwatch"
    program = cache / "influxd-2.9.1"
    if not program.exists():
        if not PACKED.exists():
            missing("influxdb", REMEDY)
        cache.mkdir(parents=True, exist_ok=True)
        part = program.with_name(f"{program.name}.{uuid.uuid4().hex}.part")
        with lzma.open(PACKED) as packed, part.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 2**20)
        part.chmod(0o755)
        part.rename(program)
    return str(program)


class Account:
    """An organisation in an InfluxDB, and what a test may ask of it beside the store."""

    address: str
    org: str
    token: str

    @property
    def environ(self) -> dict[str, str]:
        """What a store wants in its environment, with a bucket nobody used before."""
        return {"INFLUX_ORG": self.org, "INFLUX_TOKEN": self.token, "INFLUX_BUCKET": f"kpi-{uuid.uuid4().hex[:12]}"}

    def token_for(self, bucket: str, action: str) -> str:
        """Return a new token that may do one thing ("read" or "write") to one bucket."""
        [found] = self.ask(f"/api/v2/buckets?name={bucket}")["buckets"]
        resource = {"type": "buckets", "id": found["id"], "orgID": found["orgID"]}
        body = {"orgID": found["orgID"], "permissions": [{"action": action, "resource": resource}]}
        return str(self.ask("/api/v2/authorizations", json.dumps(body).encode())["token"])

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """Ask the server's own API; with a body, POST."""
        request = urllib.request.Request(f"http://{self.address}{path}", body, {"Authorization": f"Token {self.token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read() or b"null")


class InfluxServer(Account):
    """A server: it can be stopped, killed, and started again on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = influxd()
        self.port = 0
        self.org, self.token = ORG, TOKEN
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:  # type: ignore[override]  # known once it listens
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> "InfluxServer":
        """Start and wait until it answers; the first time, set it up."""
        log = self.folder / "influxd.log"
        log.unlink(missing_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    self.program,
                    f"--http-bind-address=127.0.0.1:{self.port}",
                    f"--bolt-path={self.folder / 'i.bolt'}",
                    f"--sqlite-path={self.folder / 'i.sqlite'}",
                    f"--engine-path={self.folder / 'engine'}",
                    "--reporting-disabled",
                    "--ui-disabled",
                ],
                env={**os.environ, "HOME": str(self.folder)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._is_up(log):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"influxd did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        self._set_up()
        return self

    def stop(self) -> None:
        """Shut it down in order (it takes SIGTERM for immediate death)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)
        self._process = None

    def _is_up(self, log: Path) -> bool:
        if self.port == 0:
            found = LISTENING.search(log.read_text(errors="replace"))
            if found is None:
                return False
            self.port = int(found[1] or found[2])
        try:
            with urllib.request.urlopen(f"http://{self.address}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _set_up(self) -> None:
        body = {"username": "tests", "password": "a-password", "org": self.org, "bucket": "first", "token": self.token}
        request = urllib.request.Request(
            f"http://{self.address}/api/v2/setup", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - loopback
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 422:  # already set up: it was started again
                    raise


class RunningInflux(Account):
    """A server somebody else runs: INFLUXDB_URL, INFLUX_ORG, INFLUX_TOKEN."""

    def __init__(self, url: str) -> None:
        self.address = url.partition("://")[2] or url
        self.org = os.environ.get("INFLUX_ORG", ORG)
        self.token = os.environ.get("INFLUX_TOKEN", TOKEN)


@pytest.fixture(scope="session")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer | RunningInflux]:
    """An InfluxDB shared by the tests of a session; each takes a bucket of its own (`influx.environ`)."""
    if url := os.environ.get("INFLUXDB_URL"):
        yield RunningInflux(url)
        return
    server = InfluxServer(tmp_path_factory.mktemp("influx")).start()
    yield server
    server.stop()


@pytest.fixture
def own_influx(tmp_path: Path) -> Iterator[InfluxServer]:
    """An InfluxDB of one's own, to be stopped and started."""
    server = InfluxServer(tmp_path / "influx").start()
    yield server
    server.kill()
