"""Stations: where pictures come from, at which takt, and what happens when there are too many."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from taktwatch.config.base import Settings

__all__ = ["FolderSource", "SimulatorSource", "SourceConfig", "StationConfig", "VideoSource"]


class SimulatorSource(Settings):
    """A simulated conveyor; `boards` None runs until stopped."""

    kind: Literal["simulator"]
    seed: int = 7
    layout_seed: int = 11
    boards: int | None = Field(default=None, ge=1)
    defect_probability: float = Field(default=0.12, ge=0, le=1)
    height_px: int = Field(default=640, ge=64, le=4096)
    width_px: int = Field(default=640, ge=64, le=4096)


class FolderSource(Settings):
    """Pictures of a folder in name order, once or watched for new ones.

    A picture `ID_test.*` finds its golden template `ID_temp.*` beside it; templates are not inspected themselves.
    `panels`: pictures are too large for the bus; each is cut into overlapping strips, which the takt counts one by one.
    """

    kind: Literal["folder"]
    path: Path
    watch: bool = False
    boards: int | None = Field(default=None, ge=1)
    panels: bool = False

    @model_validator(mode="after")
    def panels_are_not_counted_in_strips(self) -> "FolderSource":
        """Refuse a number of boards where frames are strips."""
        if self.panels and self.boards is not None:
            raise ValueError(
                "boards counts frames, and a panel is many; leave it out, or put fewer files in the folder"
            )
        return self


class VideoSource(Settings):
    """A video file, a device number, or a stream address, read by OpenCV. `live` sources are stamped by the clock."""

    kind: Literal["video"]
    target: str
    live: bool = False
    every_nth: int = Field(default=1, ge=1)
    boards: int | None = Field(default=None, ge=1)


SourceConfig = Annotated[SimulatorSource | FolderSource | VideoSource, Field(discriminator="kind")]


class StationConfig(Settings):
    """One camera over the belt. `boards_per_minute` is its takt; not `paced`, it sends as fast as it can.

    A frame's verdict is due `budget_s` after its frame reached the detector, one takt where nothing is said. Where
    `max_waiting` frames of the station wait for the detector, `overload` says what becomes of more.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    product: str
    source: SourceConfig
    boards_per_minute: float = Field(default=30.0, gt=0, le=6000)
    paced: bool = True
    start: datetime | None = None
    lot: str | None = None
    budget_s: float | None = Field(default=None, gt=0, description="from a frame's arrival to its verdict; a takt")
    overload: Literal["queue", "sample", "refuse"] = Field(
        default="queue", description="let frames wait, skip every second one on the record, or skip the newest"
    )
    max_waiting: int = Field(default=32, ge=1, le=100_000)
    um_per_px: float | None = Field(
        default=None, gt=0, description="of this camera, where its pixels are of another size than the product's"
    )

    @property
    def budget(self) -> float:
        """Seconds within which a verdict is due.

        >>> source = SimulatorSource(kind="simulator")
        >>> StationConfig(name="top", product="p", source=source, boards_per_minute=30).budget
        2.0
        """
        return self.budget_s or 60 / self.boards_per_minute
