"""`kill -9` of the alerts process between a transition and its notification: people are told all the same."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unit.alerts.receiver import Receiver, receiver
from unit.alerts.timeline import window

from taktwatch.alertlog import read_transitions
from taktwatch.bus import Outgoing
from taktwatch.bus.connect import open_bus
from taktwatch.config import KafkaConfig
from taktwatch.records import AlertTransition
from taktwatch.topics import Topics
from taktwatch.wire import encode

ROOT = Path(__file__).parents[2]
LINE = """
data_dir = "{folder}"

[[alerts.rules]]
name = "defect-rate"
above = 0.25
for_windows = 2
min_n = 10

[[alerts.channels]]
kind = "webhook"
name = "mes"
url = "http://127.0.0.1:${{MES_PORT}}/"
"""


@contextmanager
def alerts_process(folder: Path, mes: Receiver) -> Iterator["subprocess.Popen[bytes]"]:
    """The alerts service in a process of its own, killed with SIGKILL at the end of the block."""
    config = folder / "line.toml"
    config.write_text(LINE.format(folder=folder / "var"), encoding="utf-8")
    command = [sys.executable, "-m", "taktwatch", "run", "alerts", "--config", str(config), "--member", "alerts"]
    with (folder / "alerts.log").open("ab") as log:
        environ = {**os.environ, "MES_PORT": str(mes.port)}
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def bus_do(folder: Path, minutes: str = "") -> list[AlertTransition]:
    """Publish minutes from outside, and read what was told so far."""

    async def main() -> list[AlertTransition]:
        topics = Topics()
        bus = open_bus(f"sqlite:///{folder / 'var' / 'bus'}", KafkaConfig(), client="test")
        try:
            await bus.ensure(topics.specs(None))
            for at, word in enumerate(minutes.split()):
                await bus.publish([Outgoing(topics.kpis, b"line-1", *encode(window(word, at)))])
            return await read_transitions(bus, topics)
        finally:
            await bus.close()

    return asyncio.run(main())


def until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait for a condition while the process lives; pytest's own limit ends what never comes."""
    while not condition():
        assert process.poll() is None, (folder / "alerts.log").read_text(encoding="utf-8")
        time.sleep(0.05)


def test_an_alert_that_nobody_heard_of_before_the_kill_is_told_after_it(tmp_path: Path) -> None:
    bus_do(tmp_path)
    with receiver(503) as mes:
        with alerts_process(tmp_path, mes) as process:
            bus_do(tmp_path, "3 31 31")
            until(lambda: len(mes.posts) >= 1, process, tmp_path)
        before = bus_do(tmp_path)
        assert [transition.state.value for transition in before] == ["pending", "firing"]
        assert mes.delivered == []
        mes.status = 200
        with alerts_process(tmp_path, mes) as process:
            until(lambda: len(mes.delivered) >= 1, process, tmp_path)
        assert {key for key, _ in mes.posts} == set(mes.keys)
        assert len(mes.delivered) == 1
        assert mes.delivered[0][1]["alert_id"] == before[1].alert_id


def test_a_kill_in_the_middle_of_a_delivery_repeats_it_under_the_same_key(tmp_path: Path) -> None:
    bus_do(tmp_path)
    with receiver() as mes:
        with alerts_process(tmp_path, mes) as process:
            mes.before_answer = process.kill
            bus_do(tmp_path, "3 31 31")
            process.wait()
        mes.before_answer = None
        with alerts_process(tmp_path, mes) as process:
            until(lambda: len(mes.posts) >= 2, process, tmp_path)
        first, again = mes.posts[:2]
        assert first == again
        assert [transition.state.value for transition in bus_do(tmp_path)] == ["pending", "firing"]
