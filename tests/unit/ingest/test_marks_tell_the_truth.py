"""A mark says: up to `time`, nothing after `last_seq` was accepted. Whatever happens in between, that stays true."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.horizon import Horizon
from ingest.marks import clocked_time, mark_of, stamped_time
from ingest.pacing import Pace, Takt
from ingest.sessions import Session
from taktwatch.records import MarkState, StationMark

START = datetime(2026, 3, 3, tzinfo=UTC)

STEPS = st.lists(
    st.sampled_from(["tick", "capture", "store", "settle", "ask bound", "write mark"]), min_size=1, max_size=120
)


def new_session() -> Session:
    return Session(station="top", session="s", product="p", settings_sha256="", start=START, last_at=START)


def accepted(session: Session, taken_at: datetime) -> Session:
    return msgspec.structs.replace(session, next_seq=session.next_seq + 1, last_at=taken_at)


@dataclass
class LiveStation:
    """The steps of a live station, one by one, so that they can be interleaved as threads may."""

    time: datetime = START
    session: Session = field(default_factory=new_session)
    in_flight: list[datetime] = field(default_factory=list)
    unsettled: int = 0
    stamps: list[datetime] = field(default_factory=list)
    bound: datetime | None = None
    marks: list[StationMark] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.horizon = Horizon(lambda: self.time)

    def step(self, name: str) -> None:
        match name:
            case "tick":
                self.time += timedelta(milliseconds=10)
            case "capture":
                self.in_flight.append(self.horizon.capture())
            case "store" if self.in_flight and not self.unsettled:
                self.session = accepted(self.session, self.in_flight[0])
                self.stamps.append(self.in_flight.pop(0))
                self.unsettled = 1
            case "settle" if self.unsettled:
                self.horizon.settled()
                self.unsettled = 0
            case "ask bound":
                self.bound = self.horizon.bound()
            case "write mark" if self.bound is not None:
                time = clocked_time(self.session, self.bound)
                self.marks.append(mark_of("line", self.session, time, MarkState.OPEN))
                self.bound = None


@settings(max_examples=300)
@given(STEPS)
def test_marks_of_a_live_station_hold_for_every_frame_that_came_later(steps: list[str]) -> None:
    station = LiveStation()
    for name in steps:
        station.step(name)
    while station.in_flight or station.unsettled:
        station.step("settle")
        station.step("store")
    for mark in station.marks:
        assert all(stamp >= mark.time for stamp in station.stamps[mark.last_seq + 1 :])
        assert all(stamp <= mark.time for stamp in station.stamps[: mark.last_seq + 1])


def test_an_idle_live_station_moves_its_mark_on() -> None:
    station = LiveStation()
    for name in ("capture", "store", "settle", "tick", "tick", "ask bound", "write mark"):
        station.step(name)
    assert station.marks[0].time == START + timedelta(milliseconds=20)


@given(
    boards_per_minute=st.floats(0.5, 6000),
    first=st.integers(0, 50),
    steps=st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=40),
    paced=st.booleans(),
    lead_s=st.floats(-10, 10),
)
def test_marks_of_a_stamped_session_never_pass_the_board_to_come(
    *, boards_per_minute: float, first: int, steps: list[tuple[bool, float]], paced: bool, lead_s: float
) -> None:
    takt = Takt(START, boards_per_minute)
    pace = Pace(takt, first, lead_s) if paced else None
    session = msgspec.structs.replace(new_session(), next_seq=first)
    elapsed_s, marks = 0.0, []
    for accepts, later_s in steps:
        if accepts:
            session = accepted(session, takt.stamp(session.next_seq))
        elapsed_s += later_s
        marks.append(mark_of("line", session, stamped_time(session, takt, pace, elapsed_s), MarkState.OPEN))
    for mark in marks:
        assert mark.time <= takt.stamp(mark.last_seq + 1)
        assert mark.last_seq < 0 or mark.time >= takt.stamp(mark.last_seq)
    assert [mark.time for mark in marks] == sorted(mark.time for mark in marks)


def test_a_paced_belt_that_stands_still_moves_its_mark_up_to_the_next_board() -> None:
    takt = Takt(START, 60)
    session = accepted(new_session(), START)
    times = [stamped_time(session, takt, Pace(takt, 0), elapsed_s) for elapsed_s in (0.0, 0.25, 100.0)]
    assert [time - START for time in times] == [timedelta(0), timedelta(seconds=0.25), timedelta(seconds=1)]
