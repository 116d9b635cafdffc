"""A conveyor that never was: boards and sections drawn from a seed, the same ones again whenever they are asked for."""

import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Literal

from ingest.cameras.shot import Event, Resume, Shot
from taktwatch.config import SimulatorSource
from taktwatch.pictures import encode_jpeg, encode_png
from taktwatch.simulator import SimulatedPicture, Truth, board, section

__all__ = ["SimulatorCamera", "View", "draw", "good_picture", "shot_of", "truth_of"]

View = Literal["board", "section"]

AHEAD = 4
"""Pictures drawn ahead of the belt."""
WORKERS = 2
"""Drawing and encoding leave the interpreter lock most of the time."""
JPEG_QUALITY = 95


def draw(source: SimulatorSource, view: View, shot: int) -> SimulatedPicture:
    """Draw board number `shot` of a conveyor, with its truths: a pure function of the source's settings."""
    digest = hashlib.blake2b(f"{source.seed}/{shot}".encode(), digest_size=6).digest()
    board_seed = int.from_bytes(digest)
    size = (source.height_px, source.width_px)
    if view == "section":
        return section(source.layout_seed, board_seed, size=size, defect_probability=source.defect_probability)
    return board(source.layout_seed, board_seed, size=size, defect_probability=source.defect_probability)


def truth_of(source: SimulatorSource, view: View, shot: int) -> tuple[Truth, ...]:
    """Say what is really on board number `shot` (the `visit` of its frame). Nothing of this travels with a frame."""
    return draw(source, view, shot).truths


def good_picture(source: SimulatorSource, view: View, number: int) -> bytes:
    """Photograph a good board of the conveyor that never passes it, as a JPEG: `number` 0, 1, ... are all different."""
    seed = int.from_bytes(hashlib.blake2b(f"good/{source.seed}/{number}".encode(), digest_size=6).digest())
    size = (source.height_px, source.width_px)
    if view == "section":
        return encode_jpeg(section(source.layout_seed, seed, size=size, sites=0).picture, JPEG_QUALITY)
    return encode_jpeg(board(source.layout_seed, seed, size=size, defects=()).picture, JPEG_QUALITY)


def shot_of(source: SimulatorSource, view: View, shot: int) -> Shot:
    """Photograph board number `shot`: a JPEG, the serial number, and the golden template of the product."""
    drawn = draw(source, view, shot)
    return Shot(
        name=f"board {shot}",
        data=encode_jpeg(drawn.picture, JPEG_QUALITY),
        media_type="image/jpeg",
        serial=f"SN-{shot:06d}",
        template=None if drawn.template is None else encode_png(drawn.template),
        sound=True,
    )


class SimulatorCamera:
    """Draws ahead in threads, a bounded number of pictures, and yields them in order."""

    def __init__(self, source: SimulatorSource, view: View) -> None:
        """`view` is the product's."""
        self.source = source
        self.view = view

    def events(self, resume: Resume, stop: threading.Event) -> Iterator[Event]:
        """Yield boards from `resume.shot` on, for ever."""
        drawing: deque[Future[Shot]] = deque()
        numbers = count(resume.shot)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="conveyor") as pool:
            try:
                while not stop.is_set():
                    while len(drawing) < AHEAD:
                        drawing.append(pool.submit(shot_of, self.source, self.view, next(numbers)))
                    yield drawing.popleft().result()
            finally:
                for future in drawing:
                    future.cancel()
