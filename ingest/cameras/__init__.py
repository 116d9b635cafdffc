"""Cameras: folders, video, and the simulated conveyor, all behind one way of yielding shots."""

from collections.abc import Callable
from datetime import datetime

from ingest.cameras.folder import FolderCamera
from ingest.cameras.panels import PanelCutter
from ingest.cameras.shot import Camera, Event, Found, Lost, Resume, Shot, Traits, traits
from ingest.cameras.simulator import SimulatorCamera, View
from ingest.cameras.video import VideoCamera
from taktwatch.config import FolderSource, SimulatorSource, SourceConfig, VideoSource

__all__ = ["Camera", "Event", "Found", "Lost", "Resume", "Shot", "Traits", "open_camera", "traits"]


def open_camera(
    source: SourceConfig, view: View, *, max_bytes: int, stamp: Callable[[], datetime], cutter: PanelCutter
) -> Camera:
    """Return the camera a station describes; `stamp` gives the time to sources that a clock stamps.

    `cutter` is for sources whose pictures are panels.

    Raises `ConfigError` where the source cannot work.
    """
    clock = stamp if traits(source).clocked else None
    match source:
        case SimulatorSource():
            return SimulatorCamera(source, view)
        case FolderSource():
            cut = cutter if source.panels else None
            return FolderCamera(source.path, max_bytes=max_bytes, stamp=clock, cutter=cut)
        case VideoSource():
            return VideoCamera(source.target, every_nth=source.every_nth, stamp=clock)
