"""What a line reaches over addresses: the bus and its topics, the KPI store, and the clocks of both."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timedelta

from taktwatch.bus import Bus, TopicSetup, TopicSpec
from taktwatch.bus.connect import open_bus
from taktwatch.config import LineConfig
from taktwatch.doctor.check import Check, State, span
from taktwatch.errors import RecordNotFound, TaktwatchError
from taktwatch.native import available
from taktwatch.records import Place
from taktwatch.store import StoreState
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics

__all__ = ["BUS_CLOCK", "STORE_CLOCK", "check_bus", "check_clock", "check_store", "judge_fold"]

PATIENCE_S = 30.0
BUS_CLOCK, STORE_CLOCK = "newest record on the bus", "KPI store"


async def check_bus(config: LineConfig, clocks: dict[str, datetime]) -> AsyncIterator[Check]:
    """Is the bus reachable, and are its topics as they should be? Notes the bus's own time in `clocks`."""
    try:
        bus = open_bus(config.bus_url, config.kafka, client="taktwatch-doctor")
    except TaktwatchError as error:
        yield Check("bus", State.FAILED, str(error), "correct `bus` in line.toml or TAKTWATCH_BUS")
        return
    topics = Topics(config.prefix)
    try:
        async with asyncio.timeout(PATIENCE_S):
            wanted = topics.specs(config.retention)
            found = {spec.name: await described(bus, spec.name) for spec in wanted}
            newest = await newest_time(bus, topics.results) if found[topics.results] else None
    except (TaktwatchError, TimeoutError) as error:
        said = str(error) or f"no answer within {PATIENCE_S:g} s"
        yield Check("bus", State.FAILED, said, f"start it, or correct `bus` ({config.bus_url})")
        return
    finally:
        await bus.close()
    if newest is not None:
        clocks[BUS_CLOCK] = newest
    yield Check("bus", State.OK, config.bus_url)
    if bus.has_packs and config.kpi.compiled:
        yield judge_fold(built=available())
    missing = [name for name, setup in found.items() if setup is None]
    if missing:
        yield Check("topics", State.WARNING, f"not there yet: {', '.join(missing)}", "`taktwatch run` creates them")
    faults = [
        fault for spec in wanted if (setup := found[spec.name]) is not None for fault in topic_faults(spec, setup)
    ]
    if len(missing) < len(wanted):
        yield judge_topics(faults, len(wanted) - len(missing))


def judge_fold(*, built: bool) -> Check:
    """Say whether results are folded as fast as they can be."""
    if built:
        return Check("fold", State.OK, "ordinary results are folded by the compiled library")
    return Check(
        "fold",
        State.WARNING,
        "the compiled library was not built: Python folds all results, at about a third of the pace",
        "install Rust (cargo 1.78 or newer) and run `make setup`, or set `kpi.compiled = false`",
    )


async def described(bus: Bus, topic: str) -> TopicSetup | None:
    """Return how a topic is set up, or None where it is not there."""
    try:
        return await bus.describe(topic)
    except RecordNotFound:
        return None


async def newest_time(bus: Bus, topic: str) -> datetime | None:
    """Return when the bus took the newest record of a topic, by its own clock; None where it is empty."""
    times = []
    for number, held in (await bus.spans(topic)).items():
        if held.next > held.first:
            try:
                message = await bus.fetch(Place(topic=topic, partition=number, offset=held.next - 1))
            except RecordNotFound:
                continue  # compacted or removed meanwhile
            times.append(message.timestamp)
    return max(times, default=None)


def topic_faults(wanted: TopicSpec, setup: TopicSetup) -> Iterator[tuple[State, str]]:
    """Say in which settings a topic is not what it should be, and how bad that is.

    >>> day, week = timedelta(days=1), timedelta(days=7)
    >>> list(topic_faults(TopicSpec("t", 4, week), TopicSetup(TopicSpec("t", 2, week))))
    [(<State.WARNING: 'warning'>, 't has 2 partitions, wanted 4')]
    """
    have = setup.spec
    if have.partitions != wanted.partitions:
        yield State.WARNING, f"{have.name} has {have.partitions} partitions, wanted {wanted.partitions}"
    if have.compacted != wanted.compacted:
        kind = "compacted" if have.compacted else "not compacted"
        yield State.FAILED, f"{have.name} is {kind}"
    if have.retention != wanted.retention:
        yield State.WARNING, f"{have.name} keeps records {span(have.retention)}, wanted {span(wanted.retention)}"
    for fault in setup.faults:
        yield State.FAILED, f"{have.name}: {fault}"


def judge_topics(faults: list[tuple[State, str]], topics: int) -> Check:
    """Return one check for all topics that are there."""
    if not faults:
        return Check("topics", State.OK, f"{topics} set up as they should be")
    state = State.FAILED if any(state is State.FAILED for state, _ in faults) else State.WARNING
    remedy = "`taktwatch run` sets the retention; change other settings with the broker's tools, or take another prefix"
    return Check("topics", state, "; ".join(said for _, said in faults), remedy)


async def check_store(config: LineConfig, environ: Mapping[str, str], clocks: dict[str, datetime]) -> Check:
    """Is the store reachable, may we read and write, and does it keep windows as long as we were told?"""
    wanted = timedelta(days=config.kpi.retention_days)
    try:
        store = open_store(config.kpis_url, environ, retention=wanted)
    except TaktwatchError as error:
        return Check("store", State.FAILED, str(error), "set what is missing, or correct `kpis` in line.toml")
    try:
        async with asyncio.timeout(PATIENCE_S):
            state = await store.state()
    except (TaktwatchError, TimeoutError) as error:
        said = str(error) or f"no answer within {PATIENCE_S:g} s"
        return Check("store", State.FAILED, said, f"start it, or correct address and account ({config.kpis_url})")
    finally:
        await store.close()
    if state.clock is not None:
        clocks[STORE_CLOCK] = state.clock
    return judge_store(state, config.kpis_url, wanted)


def judge_store(state: StoreState, url: str, wanted: timedelta) -> Check:
    """Judge what lies at the store's address."""
    if not state.exists:
        return Check("store", State.WARNING, f"{url}: nothing there yet", "`taktwatch run kpi` creates it")
    if state.retention is not None and state.retention < wanted:
        return Check(
            "store",
            State.WARNING,
            f"{url} keeps windows {span(state.retention)}, kpi.retention_days asks for {span(wanted)}",
            "lengthen the bucket's retention, or shorten kpi.retention_days",
        )
    return Check("store", State.OK, f"{url} keeps windows {span(state.retention)}")


def check_clock(now: datetime, clocks: Mapping[str, datetime], skew: timedelta) -> Check:
    """Does this machine's clock agree with those it works with? Records on the bus are old, or made now; never later.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    >>> check_clock(noon, {"KPI store": noon + timedelta(minutes=5)}, timedelta(minutes=1)).said
    'the KPI store is 300 s ahead of this machine'
    """
    for name, told in clocks.items():
        apart = (told - now).total_seconds()
        behind_counts = name == STORE_CLOCK
        if apart > skew.total_seconds() or (behind_counts and -apart > skew.total_seconds()):
            word = "ahead of" if apart > 0 else "behind"
            return Check(
                "clock",
                State.FAILED,
                f"the {name} is {abs(apart):.0f} s {word} this machine",
                "set both clocks by NTP: windows and retention go by them",
            )
    compared = f", agrees with {' and '.join(f'the {name}' for name in clocks)}" if clocks else ""
    return Check("clock", State.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC{compared}")
