from collections import Counter

from timelines import Timeline, mark, result

from kpi_engine.balance import StationBalance, Tally, missing_from, terms
from kpi_engine.ledger import Gap
from kpi_engine.rules import Rules
from taktwatch.records import MarkState, Outcome


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


def test_the_balance_of_a_station_outlives_its_sessions() -> None:
    """Each term from its own source: marks, first results, numbers without outcome."""
    line = Timeline(Rules(horizon_minutes=5))
    for seq, outcome in enumerate((Outcome.INSPECTED, Outcome.SKIPPED, Outcome.DEAD)):
        line.frame(seq, f"12:00:1{seq}", outcome=outcome)
    line.frame(0, "12:00:10")
    line.mark(2, "12:00:20", MarkState.CLOSED)
    line.mark(-1, "13:00:00", session="s2")
    line.frame(0, "13:00:01", session="s2")
    line.frame(2, "13:00:03", session="s2")
    line.mark(2, "13:00:10", session="s2")
    station = next(iter(line.state.stations.values()))
    assert list(station.sessions) == ["s2"]
    balance = {"accepted": 6, "inspected": 3, "skipped": 1, "dead": 1, "pending": 1, "lost": 0, "unaccounted": 0}
    assert terms(station) == balance
    line.mark(2, "13:05:00", session="s2")
    assert terms(station) == balance | {"pending": 0, "lost": 1}
    station.sessions["s2"].inspected -= 1  # as if an outcome had been forgotten
    assert terms(station)["unaccounted"] == 1
