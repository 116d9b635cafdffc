"""A factory's results for benchmarks: what the detector would have written, and ingest's marks, in log order.

Boards come to every station twice a second, three pictures each, with serials, in lots of half an hour, over shifts;
three results in ten carry a detection.
Detectors work side by side, so the log is a little out of order; one in a thousand is late by minutes, one in a
thousand comes twice, one board in fifty is inspected again.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from taktwatch.config import LineConfig
from taktwatch.records import (
    Detection,
    InspectionResult,
    MarkState,
    ModelRef,
    Outcome,
    Place,
    Registration,
    Rle,
    StationMark,
    Verdict,
    frame_id,
)

__all__ = ["CONFIG", "EPOCH", "Factory"]

CONFIG = LineConfig.model_validate(
    {
        "products": {"demo-board": {"model": "none", "um_per_px": 20.8, "views": 3}},
        "time_zone": "Europe/Berlin",
        "shifts": {
            "early": {"start": "06:00", "end": "14:00"},
            "late": {"start": "14:00", "end": "22:00"},
            "night": {"start": "22:00", "end": "06:00"},
        },
        "kpi": {"silent_after_s": 1e9},
    }
)
"""All figures are on; but nobody speaks for stations that have been silent since the log was written."""

EPOCH = datetime(2026, 3, 3, 6, tzinfo=UTC)
VIEWS = ("top", "left", "right")
BOARDS = 2
PICTURES = BOARDS * len(VIEWS)
"""A second, per station."""
CLASSES = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
LATE, REPEATED, AGAIN, FOUND = 0.001, 0.001, 0.02, 0.3
LATE_BY = 20_000
LOT_S = 1800
NEIGHBOURS = 8
MODEL = ModelRef(
    name="board-sim",
    model_id="board-sim-20260301-r18-fpn64",
    weights_sha256="5e" * 32,
    engine="openvino",
    precision="fp32",
    device="cpu",
)
PLACED = Registration(matrix=(1.00012, 0.00031, -1.8125, -0.00029, 0.99987, 2.4375), quality=0.98713)
MASK = Rle(size=(640, 640), counts="\\\\ZX2`0bc03O1N2O001O000O2O00000000000000001O0O101N1O2M4L^eW8")


@dataclass(frozen=True)
class Factory:
    """`lines` lines of `stations` stations, for `seconds` of event time; the same seed gives the same records."""

    lines: int = 4
    stations: int = 3
    seconds: int = 3600
    seed: int = 1

    def records(self, line: int) -> Iterator[InspectionResult | StationMark]:
        """Yield one line's records in log order."""
        chance = random.Random(self.seed * 1000 + line)
        waiting: list[tuple[float, InspectionResult | StationMark]] = []
        place = 0
        for second in range(self.seconds):
            for station in range(self.stations):
                for picture in range(PICTURES):
                    result = made(chance, line, station, second, picture)
                    lag = LATE_BY if chance.random() < LATE else NEIGHBOURS
                    waiting.append((place + chance.random() * lag, result))
                    if chance.random() < REPEATED:
                        waiting.append((place + LATE_BY * chance.random(), result))
                    place += 1
                waiting.append((place, marked(line, station, second)))
            if second % 16 == 15:
                waiting.sort(key=when)
                due = next((i for i, (at, _) in enumerate(waiting) if at > place), len(waiting))
                yield from (record for _, record in waiting[:due])
                del waiting[:due]
        waiting.sort(key=when)
        yield from (record for _, record in waiting)

    @property
    def results(self) -> int:
        """How many frames have a result (repeats not counted)."""
        return self.lines * self.stations * self.seconds * PICTURES


def when(item: tuple[float, object]) -> float:
    """Order of the log."""
    return item[0]


def marked(line: int, station: int, second: int) -> StationMark:
    """Return what ingest says at the end of a second."""
    return StationMark(
        line=f"line-{line}",
        station=f"station-{station}",
        session="20260303T060000Z-1",
        product="demo-board",
        last_seq=(second + 1) * PICTURES - 1,
        time=EPOCH + timedelta(seconds=second + 1),
        state=MarkState.OPEN,
    )


def made(chance: random.Random, line: int, station: int, second: int, picture: int) -> InspectionResult:
    """Return one picture's result."""
    names = (f"line-{line}", f"station-{station}", "20260303T060000Z-1")
    seq = second * PICTURES + picture
    visit, view = divmod(seq, len(VIEWS))
    taken = EPOCH + timedelta(seconds=visit / BOARDS, milliseconds=120 * view)
    again = random.Random(visit).random() < AGAIN  # the same for all pictures of a board
    board = visit - 100 if again else visit
    found = chance.random() < FOUND
    label = CLASSES[int(chance.random() ** 2 * len(CLASSES))]
    x, y = chance.random() * 600, chance.random() * 600
    return InspectionResult(
        frame_id=frame_id(*names, seq),
        line=names[0],
        station=names[1],
        session=names[2],
        product="demo-board",
        view=VIEWS[view],
        seq=seq,
        visit=visit,
        event_at=taken,
        taken_at=taken,
        received_at=taken + timedelta(milliseconds=4),
        inspected_at=taken + timedelta(milliseconds=90 + chance.random() * 40),
        outcome=Outcome.INSPECTED,
        sha256=f"{chance.getrandbits(256):064x}",
        um_per_px=20.8,
        lot=f"LOT-{line}-{second // LOT_S}",
        serial=f"SN-{line}-{max(0, board):07}",
        place=Place(topic="taktwatch.frames", partition=seq % 8, offset=seq),
        verdict=Verdict.FAIL if found else Verdict.PASS,
        reasons=(f"{label} at ({x:.0f}, {y:.0f}), score 0.93",) if found else (),
        detections=(
            Detection(label=label, score=0.93, box_px=(x, y, x + 18, y + 14), mask=MASK, area_px=188, area_um2=81_336),
        )
        if found
        else (),
        opportunities=250,
        model=MODEL,
        config_sha256="c0" * 32,
        template_sha256="7e" * 32,
        registration=PLACED,
        timings_us={"decode": 3127, "register": 8841, "model": 58_410, "masks": 905, "walk": 0, "judge": 112},
    )
