"""Video files, USB cameras and network streams, read by OpenCV. Frames are kept losslessly, as PNG."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import cv2

from ingest.cameras.shot import Event, Found, Lost, Resume, Shot
from taktwatch.errors import ConfigError
from taktwatch.pictures import encode_png

__all__ = ["VideoCamera"]

TIMEOUT_MS = 5_000
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class VideoCamera:
    """Every nth frame of a file (`stamp` None: stamped by the takt), or of a live source, stamped as it is grabbed.

    A live source that does not open or stops giving frames is lost; it is tried again, ever more slowly.
    """

    def __init__(
        self,
        target: str,
        *,
        every_nth: int = 1,
        stamp: Callable[[], datetime] | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """`target`: a path, a device number, or an address such as rtsp://host/stream."""
        self.target = target
        self.every_nth = every_nth
        self.stamp = stamp
        self.first_pause_s = first_pause_s

    def events(self, resume: Resume, stop: threading.Event) -> Iterator[Event]:
        """Yield frames; a file begins at frame `resume.shot` x every_nth."""
        return self._file(resume.shot, stop) if self.stamp is None else self._live(self.stamp, resume.shot, stop)

    def _file(self, shot: int, stop: threading.Event) -> Iterator[Event]:
        video = cv2.VideoCapture(self.target)
        try:
            if not video.isOpened():
                raise ConfigError(f"the video {self.target} cannot be opened; check source.target and its format")
            for _ in range(shot * self.every_nth):
                video.grab()
            while not stop.is_set():
                ok, picture = video.read()
                if not ok:
                    return
                yield self._shot(shot, picture, None)
                shot += 1
                for _ in range(self.every_nth - 1):
                    video.grab()
        finally:
            video.release()

    def _live(self, stamp: Callable[[], datetime], shot: int, stop: threading.Event) -> Iterator[Event]:
        pause_s = self.first_pause_s
        while not stop.is_set():
            video = self._open()
            try:
                grabbed = 0
                while not stop.is_set() and video.isOpened() and video.grab():
                    if grabbed == 0:
                        pause_s = self.first_pause_s
                        yield Found()
                    grabbed += 1
                    if (grabbed - 1) % self.every_nth:
                        continue
                    taken_at = stamp()
                    ok, picture = video.retrieve()
                    fault = "" if ok else f"frame {shot} of {self.target} cannot be decoded"
                    yield self._shot(shot, picture, taken_at, fault)
                    shot += 1
            finally:
                video.release()
            if stop.is_set():
                return
            yield Lost(f"the camera {self.target} gives no pictures; trying again in {pause_s:g} s")
            stop.wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _open(self) -> Any:
        """Open the live source; whether it worked, the answer says."""
        if self.target.isdigit():
            return cv2.VideoCapture(int(self.target))
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        return cv2.VideoCapture(self.target, cv2.CAP_FFMPEG, limits)

    def _shot(self, shot: int, picture: Any, taken_at: datetime | None, fault: str = "") -> Shot:
        """Encode a frame (uint8 BGR, H x W x 3) without loss."""
        data = b"" if fault else encode_png(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        return Shot(name=f"frame {shot}", data=data, media_type="image/png", taken_at=taken_at, fault=fault, sound=True)
