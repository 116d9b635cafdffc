"""What crosses between fold and compiled library: how a run begins, what it changed, what it remembers. Pure."""

import msgspec

from kpi_engine.boards import Board
from kpi_engine.ledger import Gap
from kpi_engine.serials import Visit
from taktwatch.native import Engine

__all__ = ["Begin", "Change", "Known", "Rows", "Taken", "Written", "packed", "read_boards", "read_rows", "read_taken"]
__all__ += ["read_board", "read_verdicts", "read_visits", "read_written", "rows_of"]


class Known(msgspec.Struct, array_like=True):
    """A session as the library knows it; fields as in `Session`."""

    product: str
    top: int
    newest: int
    newest_us: int
    marked: int
    mark_us: int | None
    heard: dict[str, int]
    heard_us: int
    gaps: list[Gap]
    head: int
    pending: int
    watermark_us: int
    inspected: int


class Begin(msgspec.Struct, array_like=True):
    """A run that begins, and what Python came to hold of its station since the last one began.

    `held_boards`: group, visit, newest minute; `held_serials`: name, last minute. `others_us`: before that no board
    runs out of time that is not among the `open` ones.
    """

    line: str
    station: str
    held_boards: list[tuple[str, int, int]]
    held_serials: list[tuple[str, int]]
    session_name: str
    product: str
    lot: str | None
    share: str
    group: str
    views: int
    verdicts: bool
    structures: list[str]
    hold_us: int
    board_hold_us: int
    next_us: int
    frozen_minute: int
    horizon_minutes: int
    is_current: bool
    others_us: int
    session: Known
    open: list[bytes]


class Change(msgspec.Struct, array_like=True):
    """What records from offset `first` to `last` added to a share of a minute; fields as in `Sums`."""

    share: str
    minute: int
    first: int
    last: int
    frames: int
    inspected: int
    passed: int
    failed: int
    review: int
    first_pass: int
    first_pass_passed: int
    opportunities: int
    latency_sum_us: int
    scored: int
    score_sum_bp: int
    score_squares_bp2: int
    marks: int
    latency_buckets: dict[int, int]
    defects: dict[str, int]


class Written(Known):
    """What a run makes of its session and of sums."""

    changes: list[Change]


class Rows(msgspec.Struct, array_like=True):
    """Boards and serials as a checkpoint has them, `newest` the last minute any was seen in; and boards that wait."""

    boards: list[msgspec.Raw]
    serials: dict[str, msgspec.Raw]
    newest: int
    waiting: list[msgspec.Raw]


class Taken(msgspec.Struct, array_like=True):
    """What was taken in: the offset after it, how many results and marks, and how many verdicts of each kind."""

    position: int
    results: int
    marks: int
    passed: int
    failed: int
    review: int


def rows_of(engine: Engine | None, line: str, name: str) -> Rows | None:
    """Return what the library remembers of a station that is in no block yet."""
    found = None if engine is None else engine.rows(line, name)
    return None if found is None else read_rows(found)


packed = msgspec.msgpack.Encoder().encode
read_board = msgspec.msgpack.Decoder(Board).decode
read_boards = msgspec.msgpack.Decoder(list[Board]).decode
read_rows = msgspec.msgpack.Decoder(Rows).decode
read_taken = msgspec.msgpack.Decoder(Taken).decode
read_visits = msgspec.msgpack.Decoder(list[Visit]).decode
read_verdicts = msgspec.msgpack.Decoder(list[tuple[str, int, bytes]]).decode
"""Of each line: how many verdicts, and their records as Kafka has them."""

read_written = msgspec.msgpack.Decoder(Written).decode
