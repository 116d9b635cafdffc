"""Reads from the bus what the counted model and the one beside it said of the same frames."""

from collections.abc import Sequence
from datetime import datetime

from detector.evaluation.shadowing import Beside, compare_beside
from taktwatch.bus import Bus
from taktwatch.records import InspectionResult, Outcome
from taktwatch.topics import Topics
from taktwatch.wire import decode

__all__ = ["shadow_report"]


async def shadow_report(bus: Bus, topics: Topics, product: str, *, since: datetime | None = None) -> Beside | None:
    """Compare the newest pair of models on a product's frames, `since` a log time; None where nothing is to compare.

    Raises `BadRecord` for bytes that are no record, `BackendUnavailable`.
    """
    beside = await first_results(bus, topics.shadow, product, since)
    if not beside:
        return None
    newest = beside[max(beside, key=lambda name: beside[name].inspected_at)]
    beside = {name: one for name, one in beside.items() if one.model == newest.model}
    counted = await first_results(bus, topics.results, product, since)
    known = [one for name, one in counted.items() if name in beside]
    if not known:
        return None
    at_work = max(known, key=lambda one: one.inspected_at).model
    counted = {name: one for name, one in counted.items() if one.model == at_work}
    pairs = [(one, beside[name]) for name, one in counted.items() if name in beside]
    return compare_beside(pairs, frames_meanwhile(list(counted.values()), pairs))


def frames_meanwhile(counted: Sequence[InspectionResult], pairs: Sequence[tuple[InspectionResult, object]]) -> int:
    """Count the frames from the first to the last that was compared."""
    times = [one.inspected_at for one, _ in pairs]
    return sum(min(times) <= one.inspected_at <= max(times) for one in counted) if times else 0


async def first_results(bus: Bus, topic: str, product: str, since: datetime | None) -> dict[str, InspectionResult]:
    """Return the first result of each inspected frame of a product, by frame id."""
    found: dict[str, InspectionResult] = {}
    async for batch in bus.read(topic, start=since):
        for message in batch:
            record = decode(message.value, message.headers)
            if not isinstance(record, InspectionResult) or record.outcome is not Outcome.INSPECTED:
                continue
            if record.product == product:
                found.setdefault(record.frame_id, record)
    return found
