"""What the fold is told of a line: patience, what makes a board, and which windows are wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kpi_engine.shifts import Calendar
from taktwatch.config import LineConfig

__all__ = ["Rules", "rules_of"]


@dataclass(frozen=True)
class Rules:
    """How long a window takes corrections, how long a frame may stay without outcome, and what is made of them.

    `views`: pictures that make a board, by product; 1 where a product is not named. `board_hold_us`: a board whose
    pictures do not all come is closed when everything up to so long after its newest one is in. `kinds`: the roll-ups.
    `verdicts`: whether verdicts of boards are kept for `drain_verdicts`.
    """

    horizon_minutes: int = 60
    hold_us: int = 120_000_000
    board_hold_us: int = 5_000_000
    views: Mapping[str, int] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset({"1h", "shift", "lot"})
    calendar: Calendar = field(default_factory=Calendar)
    verdicts: bool = False


def rules_of(config: LineConfig, *, verdicts: bool = False) -> Rules:
    """Return the rules of a line as its configuration has them."""
    return Rules(
        horizon_minutes=config.kpi.horizon_minutes,
        hold_us=round(config.kpi.max_hold_s * 1e6),
        board_hold_us=round(config.kpi.board_hold_s * 1e6),
        views={name: product.views for name, product in config.products.items()},
        kinds=frozenset(config.kpi.roll_ups),
        calendar=Calendar(config.time_zone, config.shifts),
        verdicts=verdicts,
    )
