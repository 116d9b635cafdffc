"""The embedded log: what survives, what retention gives back, and what it says when its files are in trouble."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taktwatch.bus import Message, Outgoing, TopicSpec
from taktwatch.bus.outgoing import partition_of
from taktwatch.bus.sqlite_log import INLINE_BYTES, TopicLog, create_topic
from taktwatch.errors import BackendUnavailable, OffsetLost, RecordNotFound

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LARGE = INLINE_BYTES + 1
EVERYTHING = 10**9


@contextmanager
def topic_log(root: Path, spec: TopicSpec | None = None, segment_bytes: int = 2**20) -> Iterator[TopicLog]:
    create_topic(root, spec or TopicSpec("t", 1, HOUR))
    log = TopicLog(root, spec.name if spec else "t", segment_bytes=segment_bytes)
    try:
        yield log
    finally:
        log.close()


def records(count: int, size: int = 10, key: bytes = b"k") -> list[Outgoing]:
    return [Outgoing("t", key, bytes([number % 256]) * size) for number in range(count)]


def read_all(
    log: TopicLog, partition: int = 0, max_records: int = EVERYTHING, max_bytes: int = EVERYTHING
) -> list[Message]:
    span = log.spans()[partition]
    position, found = span.first, []
    while position < span.next:
        messages, position = log.read(partition, position, None, max_records=max_records, max_bytes=max_bytes)
        found += messages
    return found


def segments(log: TopicLog) -> list[str]:
    return sorted(path.name for path in log.folder.glob("*.values"))


def test_large_values_lie_beside_the_index_and_small_ones_within(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log:
        log.append(records(3, INLINE_BYTES), NOON)
        assert segments(log) == []
        log.append(records(3, LARGE), NOON)
        assert len(segments(log)) == 1
        assert [len(m.value) for m in read_all(log)] == [INLINE_BYTES] * 3 + [LARGE] * 3


def test_retention_removes_old_records_and_gives_their_space_back(tmp_path: Path) -> None:
    with topic_log(tmp_path, segment_bytes=3 * LARGE) as log:
        for minutes in range(0, 120, 10):
            log.append(records(3, LARGE), NOON + timedelta(minutes=minutes))
        assert len(segments(log)) == 12
        log.sweep(NOON + timedelta(minutes=150))
        assert log.spans()[0].first == 27  # what is older than 13:30 is gone
        assert len(segments(log)) == 3
        assert len(read_all(log)) == 9
        assert log.append(records(1), NOON + timedelta(minutes=151)) == [(0, 36)]


def test_without_retention_nothing_is_removed(tmp_path: Path) -> None:
    with topic_log(tmp_path, TopicSpec("t", 1, None)) as log:
        log.append(records(3, LARGE), NOON)
        log.sweep(NOON + timedelta(days=10_000))
        assert len(read_all(log)) == 3


def test_a_new_retention_holds_for_an_existing_topic(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log:
        log.append(records(3), NOON)
        create_topic(tmp_path, TopicSpec("t", 7, 3 * HOUR))
        log.sweep(NOON + 2 * HOUR)
        assert log.spans()[0].first == 0
        create_topic(tmp_path, TopicSpec("t", 7, HOUR))
        log.sweep(NOON + 2 * HOUR)
        assert log.spans()[0].first == 3


def test_a_writer_whose_segment_was_swept_away_writes_again(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log, topic_log(tmp_path) as other:
        log.append(records(1, LARGE), NOON)
        other.sweep(NOON + 2 * HOUR)
        assert segments(log) == []
        log.append(records(2, LARGE), NOON + 2 * HOUR)
        assert [m.offset for m in read_all(other)] == [1, 2]
        assert len(segments(log)) == 1


def test_a_segment_without_records_is_kept_for_a_writer_that_has_just_begun(tmp_path: Path) -> None:
    with topic_log(tmp_path, TopicSpec("t", 1, None)) as log:
        log._segments.append([b"never committed"], 0)
        log._segments.abandon()
        log.sweep(datetime(1970, 1, 1, 0, 30, tzinfo=UTC))
        assert len(segments(log)) == 1
        log.sweep(datetime(1970, 1, 1, 2, tzinfo=UTC))
        assert segments(log) == []


def test_a_compacted_topic_keeps_the_last_record_of_each_key(tmp_path: Path) -> None:
    with topic_log(tmp_path, TopicSpec("t", 1, None, compacted=True)) as log:
        for number in range(50):
            log.append([Outgoing("t", b"a", bytes([number]) * LARGE), Outgoing("t", b"b", bytes([number]))], NOON)
        assert [(m.key, m.value[0]) for m in read_all(log)] == [(b"a", 49), (b"b", 49)]
        assert log.path.stat().st_size + log.path.with_name("log.sqlite-wal").stat().st_size < 8 * 2**20
        newest = log.last(b"a")
        assert newest is not None
        assert newest.offset == 98


def test_log_times_never_go_back_when_the_clock_does(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log:
        for seconds in (0, 10, 5, 20):
            log.append(records(1), NOON + timedelta(seconds=seconds))
        assert [m.timestamp - NOON for m in read_all(log)] == [timedelta(seconds=s) for s in (0, 10, 10, 20)]


@settings(max_examples=30, deadline=None)
@given(
    times=st.lists(st.integers(0, 60), min_size=1, max_size=30),
    swept=st.integers(0, 60),
    sought=st.integers(-1, 130),
)
def test_a_time_is_found_as_a_search_through_all_records_would(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], swept: int, sought: int
) -> None:
    with topic_log(tmp_path_factory.mktemp("log")) as log:
        for minutes in sorted(times):
            log.append(records(1), NOON + timedelta(minutes=minutes))
        log.sweep(NOON + HOUR + timedelta(minutes=swept))
        at = NOON + timedelta(minutes=sought)
        later = [m.offset for m in read_all(log) if m.timestamp >= at]
        assert log.find(0, at) == (later[0] if later else log.spans()[0].next)


@settings(max_examples=40, deadline=None)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.sampled_from([0, 1, 500, LARGE])), max_size=8),
        max_size=12,
    ),
    max_records=st.integers(1, 7),
    max_bytes=st.sampled_from([1, 600, LARGE, 3 * LARGE]),
)
def test_whatever_is_appended_is_read_once_and_in_order_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[bytes, int]]],
    max_records: int,
    max_bytes: int,
) -> None:
    with topic_log(tmp_path_factory.mktemp("log"), TopicSpec("t", 3), segment_bytes=2 * LARGE) as log:
        expected: dict[int, list[tuple[bytes, int]]] = {0: [], 1: [], 2: []}
        for batch in batches:
            for (key, size), (partition, offset) in zip(
                batch, log.append([Outgoing("t", key, bytes(size)) for key, size in batch], NOON), strict=True
            ):
                assert (partition, offset) == (partition_of(key, 3), len(expected[partition]))
                expected[partition].append((key, size))
        for partition, wanted in expected.items():
            found = read_all(log, partition, max_records, max_bytes)
            assert [(m.key, len(m.value)) for m in found] == wanted
            assert [m.offset for m in found] == list(range(len(wanted)))


def test_a_position_beyond_the_end_is_lost_too(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log:
        log.append(records(3), NOON)
        assert log.read(0, 3, None, max_records=1, max_bytes=1) == ([], 3)
        with pytest.raises(OffsetLost, match="the log holds 0 to 3"):
            log.read(0, 4, None, max_records=1, max_bytes=1)
        with pytest.raises(RecordNotFound, match="has no partition 1"):
            log.read(1, 0, None, max_records=1, max_bytes=1)


def test_a_full_disk_is_told_with_its_remedy_and_spares_what_was_there(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log:
        log.append(records(5, LARGE), NOON)
        pages = log._writer.execute("PRAGMA page_count").fetchone()[0]
        log._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(BackendUnavailable, match=r"log.sqlite: the disk is full; free some space"):
            log.append([*records(1, LARGE), *records(100, 10_000)], NOON)
        log._writer.execute("PRAGMA max_page_count = 1000000")
        assert log.append(records(1, LARGE), NOON) == [(0, 5)]
        assert len(read_all(log)) == 6


def test_a_locked_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taktwatch.bus.sqlite_db.BUSY_S", 0.05)
    with topic_log(tmp_path) as log:
        blocker = sqlite3.connect(log.path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(BackendUnavailable, match="held it locked"):
                log.append(records(1), NOON)
        finally:
            blocker.close()
        assert log.append(records(1), NOON) == [(0, 0)]


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log:
        path = log.path
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(BackendUnavailable, match="no bus file; stop taktwatch, move the file away"):
        TopicLog(tmp_path, "t", segment_bytes=1)


def test_a_value_damaged_on_disk_is_never_returned(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log:
        log.append(records(2, LARGE), NOON)
        path = log.folder / segments(log)[0]
        content = bytearray(path.read_bytes())
        content[LARGE + 5] ^= 1
        path.write_bytes(content)
        assert log.fetch(0, 0) is not None
        with pytest.raises(BackendUnavailable, match="the record at offset 1 is damaged on disk"):
            log.fetch(0, 1)


def test_a_missing_segment_is_told_apart_from_retention(tmp_path: Path) -> None:
    with topic_log(tmp_path) as log:
        log.append(records(2, LARGE), NOON)
        (log.folder / segments(log)[0]).unlink()
        with pytest.raises(BackendUnavailable, match=r"\.values is missing"):
            read_all(log)
