"""When a restart goes on with a session, and when a new one begins."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec

from ingest.sessions import HURRY, Session, choose_session, is_exhausted
from taktwatch.config import StationConfig

NOW = datetime(2026, 3, 3, 10, 0, 0, 700_000, tzinfo=UTC)
START = datetime(2026, 3, 1, tzinfo=UTC)


def station(source: dict[str, Any] | None = None, **settings: Any) -> StationConfig:
    return StationConfig.model_validate(
        {"name": "top", "product": "p", "source": source or {"kind": "simulator", "boards": 10}, **settings}
    )


def after(session: Session, frames: int, **changes: Any) -> Session:
    return msgspec.structs.replace(session, next_seq=frames, **changes)


def test_the_first_session_starts_now_floored_to_the_second() -> None:
    session = choose_session(station(), [], NOW)
    assert session.start == NOW.replace(microsecond=0)
    assert session.session.startswith("20260303T100000Z-")
    assert (session.next_seq, session.next_shot) == (0, 0)


def test_a_set_start_and_the_same_settings_give_the_same_session_anywhere() -> None:
    first = choose_session(station(start=START), [], NOW)
    again = choose_session(station(start=START), [], NOW + timedelta(days=9))
    assert first.session == again.session
    assert first.start == START


def test_a_start_without_a_zone_is_utc_and_another_zone_is_turned() -> None:
    assert choose_session(station(start=START.replace(tzinfo=None)), [], NOW).start == START
    berlin = START.astimezone(timezone(timedelta(hours=1)))
    assert choose_session(station(start=berlin), [], NOW).start == START


def test_an_unfinished_session_is_resumed_where_it_stopped() -> None:
    begun = after(choose_session(station(), [], NOW), 4)
    assert choose_session(station(), [begun], NOW + timedelta(days=3)) == begun


def test_other_settings_begin_a_new_session() -> None:
    begun = after(choose_session(station(), [], NOW), 4)
    other = choose_session(station({"kind": "simulator", "boards": 10, "seed": 8}), [begun], NOW)
    assert other.session != begun.session
    assert other.next_seq == 0


def test_pacing_is_no_part_of_what_a_run_is() -> None:
    begun = after(choose_session(station(paced=True), [], NOW), 4)
    assert choose_session(station(paced=False), [begun], NOW) == begun


def test_a_finished_run_with_a_set_start_is_not_sent_again() -> None:
    done = after(choose_session(station(start=START), [], NOW), 10, finished=True, closed=True)
    again = choose_session(station(start=START), [done], NOW)
    assert again == done
    assert is_exhausted(station(start=START), again)


def test_a_finished_run_without_a_start_is_run_anew() -> None:
    done = after(choose_session(station(), [], NOW), 10, finished=True, closed=True)
    again = choose_session(station(), [done], NOW)
    assert again.session != done.session
    assert (again.next_seq, again.next_shot) == (0, 0)
    assert again.start > done.start


def test_a_run_abandoned_for_another_is_taken_up_again_when_its_settings_return() -> None:
    abandoned = after(choose_session(station(start=START), [], NOW), 4, closed=True)
    other = choose_session(station(start=NOW), [abandoned], NOW)
    again = choose_session(station(start=START), [abandoned, other], NOW)
    assert (again.session, again.next_seq, again.closed) == (abandoned.session, 4, False)


def test_an_endless_belt_that_stood_for_long_goes_on_with_new_boards_in_a_new_session() -> None:
    endless = station({"kind": "simulator"})
    begun = after(choose_session(endless, [], NOW), 40, last_at=NOW)
    assert choose_session(endless, [begun], NOW + HURRY) == begun
    later = choose_session(endless, [begun], NOW + HURRY + timedelta(seconds=1))
    assert later.session != begun.session
    assert (later.next_seq, later.first_shot, later.next_shot) == (0, 40, 40)


def test_a_live_camera_resumes_its_session_however_long_it_stood() -> None:
    camera = station({"kind": "video", "target": "0"})
    begun = after(choose_session(camera, [], NOW), 40, last_at=NOW)
    assert choose_session(camera, [begun], NOW + timedelta(days=30)) == begun


def test_a_limited_source_is_exhausted_with_its_last_board() -> None:
    begun = choose_session(station(), [], NOW)
    assert not is_exhausted(station(), after(begun, 9))
    assert is_exhausted(station(), after(begun, 10))
    assert not is_exhausted(station({"kind": "simulator"}), after(begun, 10))
