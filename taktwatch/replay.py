"""A replay: recorded frames through the ordinary inspection, under a prefix of its own and without a consumer group.

Nothing live is touched: no offset, no window, no pager. What the replay finds lies in `<prefix>.replay.<id>.*`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

import msgspec

from taktwatch.app import Line, open_line
from taktwatch.audit.compare import Comparison, compare_results, compare_windows
from taktwatch.audit.select import Recording, read_frames, read_recording
from taktwatch.bus import Message, Outgoing
from taktwatch.clock import now
from taktwatch.config import LineConfig
from taktwatch.errors import ConfigError
from taktwatch.records import InspectionResult, KpiWindow, Outcome, StationMark
from taktwatch.topics import Topics, replay_topics
from taktwatch.wire import decode, encode

__all__ = ["run_replay"]

Logged = tuple[Message, InspectionResult | StationMark]


async def run_replay(
    config: LineConfig, stop: asyncio.Event, *, since: datetime, until: datetime, station: str | None, model: str | None
) -> tuple[Comparison, Topics]:
    """Replay the frames with event time in [since, until) and compare with the record; say under which topics it lies.

    `model` replaces the model of every product of its view. Raises `ConfigError` where nothing was recorded.
    """
    async with open_line(config, ()) as line:
        recording = await read_recording(line.bus, line.topics, since, until, station)
        if not recording.results:
            at = f" at station {station!r}" if station else ""
            raise ConfigError(
                f"nothing was recorded{at} between {since:%Y-%m-%dT%H:%M:%SZ} and {until:%Y-%m-%dT%H:%M:%SZ}"
            )
        topics = replay_topics(f"{now():%Y%m%dT%H%M%S}", config.prefix)
        await line.bus.ensure(topics.specs(None))
        settings = with_model(config, model)
        replayed = await inspect_again(line, recording, settings, topics, stop)
        limits = await asyncio.to_thread(thresholds, settings, replayed.values())
        comparison = compare_results(recording.results, replayed.values(), limits)
        before = windows_of(config, recording.log)
        after = windows_of(config, [(message, again(record, replayed)) for message, record in recording.log])
        await line.bus.publish([outgoing(topics.kpis, window.station, window) for window in after])
    compared, differing = compare_windows(before, after)
    return msgspec.structs.replace(comparison, windows_compared=compared, windows_differing=differing), topics


async def inspect_again(
    line: Line, recording: Recording, config: LineConfig, topics: Topics, stop: asyncio.Event
) -> dict[str, InspectionResult]:
    """Inspect the recorded frames, publish the results under `topics`, and return them by frame id.

    Results of frames that were skipped, or never reached the frames topic, are taken over as they are.
    """
    from detector.service import DetectorService

    detector = DetectorService(config, line.bus, line.topics, member="replay")
    kept = [one for one in recording.results if one.place is None or one.outcome is Outcome.SKIPPED]
    replayed = {result.frame_id: result for result in kept}
    async for messages in read_frames(line.bus, [one for one in recording.results if one.frame_id not in replayed]):
        if stop.is_set():
            break
        records = [decode(record.value, record.headers) for record in await detector.inspect_messages(messages)]
        results = [record for record in records if isinstance(record, InspectionResult)]
        await line.bus.publish([outgoing(topics.results, result.line, result) for result in results])
        replayed |= {result.frame_id: result for result in results}
    return replayed


def with_model(config: LineConfig, model: str | None) -> LineConfig:
    """Return the configuration with another model for every product of the model's view."""
    if model is None:
        return config
    from detector.registry import read_card

    view = read_card(config.detector.models_dir / model).spec.view
    products = {
        name: product.model_copy(update={"model": model}) if product.view == view else product
        for name, product in config.products.items()
    }
    return config.model_copy(update={"products": products})


def windows_of(config: LineConfig, log: Iterable[Logged]) -> list[KpiWindow]:
    """Fold a slice of the results topic as the KPI engine does; return each window at its highest revision."""
    from kpi_engine.rules import rules_of
    from kpi_engine.windows import drain, empty, fold
    from taktwatch.instants import microseconds

    rules = rules_of(config)
    partitions: dict[int, list[Logged]] = defaultdict(list)
    for message, record in log:
        partitions[message.partition].append((message, record))
    windows: dict[tuple[object, ...], KpiWindow] = {}
    for logged in partitions.values():
        state = empty()
        for message, record in sorted(logged, key=lambda pair: pair[0].offset):
            fold(state, record, message.offset, microseconds(message.timestamp), rules)
        for window in drain(state):  # final ones first, in the order they were reached
            windows[window.window, window.line, window.station, window.product, window.start, window.lot] = window
    return list(windows.values())


def again(
    record: InspectionResult | StationMark, replayed: dict[str, InspectionResult]
) -> InspectionResult | StationMark:
    """Return the replayed result in place of the recorded one; marks stay."""
    return replayed.get(record.frame_id, record) if isinstance(record, InspectionResult) else record


def thresholds(config: LineConfig, replayed: Iterable[InspectionResult]) -> dict[str, dict[str, float]]:
    """Return the score threshold of each class of each product, for the models as they ran."""
    from detector.scores import open_scores

    models = {result.product: result.model for result in replayed if result.model is not None}
    return {
        name: open_scores(config.detector.models_dir / product.model, models[name], name, product).thresholds
        for name, product in config.products.items()
        if name in models
    }


def outgoing(topic: str, key: str, record: InspectionResult | KpiWindow) -> Outgoing:
    """Encode a record for a topic."""
    value, headers = encode(record)
    return Outgoing(topic, key.encode(), value, headers)
