"""Wiring: which services run, on which bus and store. Rooms meet here and nowhere else.

Rooms are imported where they are started: a KPI container has neither torch nor FastAPI.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Protocol

import stamina
import structlog
from prometheus_client import start_http_server

from taktwatch.bus import Bus
from taktwatch.bus.connect import open_bus
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, ConfigError
from taktwatch.store import KpiStore
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics

__all__ = ["SERVICES", "Line", "Service", "open_line", "run_line"]

SERVICES = ("ingest", "detector", "kpi", "alerts", "console")

log = structlog.get_logger()


class Service(Protocol):
    """What every room's service is: it runs until `stop`, finishes what it has in hand, and returns."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""


@dataclass(frozen=True)
class Line:
    """An opened line: configuration, bus, store, and the services that were asked for, by name."""

    config: LineConfig
    topics: Topics
    bus: Bus
    store: KpiStore | None
    services: Mapping[str, Service] = field(default_factory=dict)


def default_member() -> str:
    """Return this host's name: the same after a restart, so that partitions come back at once."""
    return socket.gethostname()


@asynccontextmanager
async def open_line(
    config: LineConfig,
    names: Sequence[str],
    *,
    member: str | None = None,
    patience: timedelta = timedelta(0),
    environ: Mapping[str, str] = os.environ,
) -> AsyncIterator[Line]:
    """Open bus and store, create missing topics, and build the named services.

    `patience` is how long to wait for a bus that does not answer yet: containers start in any order.
    Raises `ConfigError` for an unknown service, `BackendUnavailable` for a bus that does not come.
    """
    if unknown := sorted(set(names) - set(SERVICES)):
        raise ConfigError(f"no service {unknown[0]!r}; choose from {', '.join(SERVICES)}")
    topics = Topics(config.prefix)
    member = member or default_member()
    bus = await reach_bus(config, topics, member, patience)
    try:
        kept = timedelta(days=config.kpi.retention_days)
        store = open_store(config.kpis_url, environ, retention=kept) if {"kpi", "console"} & set(names) else None
        try:
            if store is not None and "kpi" not in names:
                await store.prepare()
            services: dict[str, Service] = {}
            for name in names:
                services |= build(name, config, bus, topics, store=store, member=member)
            yield Line(config, topics, bus, store, services)
        finally:
            if store is not None:
                await store.close()
    finally:
        await bus.close()


async def reach_bus(config: LineConfig, topics: Topics, member: str, patience: timedelta) -> Bus:
    """Open the bus and create what topics are missing, trying again for `patience`."""
    attempts = None if patience else 1
    async for attempt in stamina.retry_context(
        on=BackendUnavailable, attempts=attempts, timeout=patience or None, wait_max=5
    ):
        with attempt:
            bus = open_bus(config.bus_url, config.kafka, client=f"taktwatch-{member}")
            try:
                await bus.ensure(topics.specs(config.retention))
            except BaseException:
                await bus.close()
                raise
            return bus
    raise AssertionError  # retry_context either returns or raises


def build(
    name: str, config: LineConfig, bus: Bus, topics: Topics, *, store: KpiStore | None, member: str
) -> dict[str, Service]:
    """Build one service; `kpi` is five: engine, control charts, a sink to the store for each, and one for reviews."""
    try:
        match name:
            case "ingest":
                from ingest.service import IngestService

                return {name: IngestService(config, bus, topics)}
            case "detector":
                from detector.service import DetectorService

                return {name: DetectorService(config, bus, topics, member=member)}
            case "kpi":
                from kpi_engine.service import KpiService
                from kpi_engine.sinks.points import SpcSink
                from kpi_engine.sinks.reviews import ReviewSink
                from kpi_engine.sinks.windows import KpiSink
                from kpi_engine.spc_service import SpcService

                assert store is not None  # noqa: S101 - open_line opened it
                return {
                    name: KpiService(config, bus, topics, member=member),
                    "kpi-store": KpiSink(config, bus, topics, store, member=member),
                    "spc": SpcService(config, bus, topics, member=member),
                    "spc-store": SpcSink(config, bus, topics, store, member=member),
                    "review-store": ReviewSink(config, bus, topics, store, member=member),
                }
            case "alerts":
                from alerts.service import AlertsService

                return {name: AlertsService(config, bus, topics, member=member)}
            case _:
                from dashboards.console.service import ConsoleService

                assert store is not None  # noqa: S101 - open_line opened it
                return {name: ConsoleService(config, bus, topics, store)}
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"service {name!r} needs {error.name}; install it with: pip install 'taktwatch[{name}]'"
        ) from error


async def run_line(
    line: Line,
    stop: asyncio.Event,
    *,
    stops: Mapping[str, asyncio.Event] = MappingProxyType({}),
    on_start: Callable[[], None] | None = None,
) -> None:
    """Run the line's services until `stop`, or until an event of their own in `stops`.

    When one fails, the others finish what they have in hand, and the failure is raised.
    """
    if line.config.metrics_port is not None and "console" not in line.services:
        start_http_server(line.config.metrics_port)
    tasks = {
        asyncio.create_task(service.run(stops.get(name, stop)), name=name): name
        for name, service in line.services.items()
    }
    if on_start is not None:
        on_start()
    try:
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if (error := task.exception()) is not None:
                    log.error("service failed", service=tasks[task], error=str(error))
                    halt(stop, stops)
    finally:
        halt(stop, stops)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failures:
        raise failures[0]


def halt(stop: asyncio.Event, stops: Mapping[str, asyncio.Event]) -> None:
    """Stop every service."""
    stop.set()
    for event in stops.values():
        event.set()
