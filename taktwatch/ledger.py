"""The ledger of a line as people read it: what became of every accepted frame, and the verdicts."""

from collections import Counter

import msgspec

from taktwatch.app import Line
from taktwatch.errors import BadRecord
from taktwatch.records import InspectionResult, Verdict
from taktwatch.wire import decode

__all__ = ["StationLedger", "first_results", "read_ledger"]


class StationLedger(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of one station, in frames, each number from its own source, and its verdicts."""

    station: str
    accepted: int
    inspected: int
    skipped: int
    dead: int
    pending: int
    lost: int
    passed: int
    failed: int
    review: int

    @property
    def balanced(self) -> bool:
        """Every accepted frame is accounted for, and none is lost.

        >>> StationLedger(station="top", accepted=3, inspected=2, skipped=0, dead=1, pending=0, lost=0,
        ...               passed=1, failed=1, review=0).balanced
        True
        """
        known = self.inspected + self.skipped + self.dead + self.pending + self.lost
        return self.accepted == known and self.lost == 0


async def read_ledger(line: Line) -> tuple[StationLedger, ...]:
    """Return the ledger and the verdicts of every station that the results topic knows."""
    from kpi_engine.balance import read_balance

    balances = await read_balance(line.bus, line.topics)
    verdicts = Counter((result.station, result.verdict) for result in await first_results(line))
    return tuple(
        StationLedger(
            station=name,
            accepted=balance.accepted,
            inspected=balance.inspected,
            skipped=balance.skipped,
            dead=balance.dead,
            pending=balance.pending,
            lost=balance.lost,
            passed=verdicts[name, Verdict.PASS],
            failed=verdicts[name, Verdict.FAIL],
            review=verdicts[name, Verdict.REVIEW],
        )
        for name, balance in balances.items()
    )


async def first_results(line: Line) -> list[InspectionResult]:
    """Read the first result of each frame, in log order; damaged records lie in the dead topic and are passed over."""
    results: dict[str, InspectionResult] = {}
    async for batch in line.bus.read(line.topics.results):
        for message in batch:
            try:
                record = decode(message.value, message.headers)
            except BadRecord:
                continue
            if isinstance(record, InspectionResult):
                results.setdefault(record.frame_id, record)
    return list(results.values())
