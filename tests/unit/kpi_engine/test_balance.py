from collections import Counter

from timelines import mark, result

from kpi_engine.balance import StationBalance, Tally, missing_from
from kpi_engine.ledger import Gap
from taktwatch.records import Outcome


def test_a_frame_nobody_knows_of_leaves_the_balance_open() -> None:
    tally = Tally()
    for record in (result(0, "12:00:00"), result(2, "12:00:02"), mark(2, "12:00:03")):
        tally.add(record)
    balance = tally.balances(Counter(), Counter())["top"]
    assert (balance.accepted, balance.inspected, balance.unaccounted, balance.balanced) == (3, 2, 1, False)
    assert tally.balances(Counter(), Counter({("line-1", "top"): 1}))["top"].balanced


def test_sessions_of_a_station_add_up() -> None:
    tally = Tally()
    for session in ("s1", "s2"):
        tally.add(result(0, "12:00:00", session=session, outcome=Outcome.SKIPPED, verdict=None))
        tally.add(mark(0, "12:00:03", session=session))
    balance = tally.balances(Counter(), Counter())["top"]
    assert balance == StationBalance(line="line-1", station="top", accepted=2, skipped=2)


def test_a_trimmed_log_is_balanced_from_its_first_mark_on() -> None:
    tally = Tally()
    records = [result(98, "12:00:00"), mark(99, "12:00:01"), result(99, "12:00:01"), result(100, "12:00:02")]
    for record in [*records, mark(101, "12:00:03"), result(101, "12:00:03")]:
        tally.add(record, trimmed=True)
    balance = tally.balances(Counter(), Counter())["top"]
    assert (balance.accepted, balance.inspected, balance.balanced) == (2, 2, True)


def test_missing_frames_are_counted_from_a_number_on() -> None:
    gaps = [
        Gap(2, 4, 0, 0, "p", None, missing=True),
        Gap(7, 9, 0, 0, "p", None, missing=False),
        Gap(12, 12, 0, 0, "p", None, missing=True),
    ]
    assert [missing_from(gaps, base) for base in (0, 4, 5, 13)] == [4, 2, 1, 0]
