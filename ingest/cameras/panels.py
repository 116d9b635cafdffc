"""Panels: pictures too large for the bus, read by rows and cut into overlapping strips that are sent as frames.

Strips are PNG, lossless, of at most the size a line takes; their number is known before the first. The golden template,
as large as the panel, is cut alike, once, and kept as files: no panel is ever wholly in memory where its format gives
rows (`taktwatch.rows`).
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from ingest.cameras.shot import HEAD_BYTES, Shot
from taktwatch.errors import BadInput, BadPicture
from taktwatch.records import Tile
from taktwatch.rows import Band, Rows, open_rows, pieces
from taktwatch.strips import Box, cut_panel

__all__ = ["PanelCutter", "PanelLimits", "piece_key", "sent_of", "whole_key"]

FILLED = 0.99
"""Of the size a line takes: a PNG of noise is a little larger than its pixels."""
BETWEEN = "/#"
CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class PanelLimits:
    """What a line takes: bytes of a strip, px of a panel and of its side; and what strips share."""

    max_bytes: int
    max_px: int
    max_side: int
    overlap_px: int


def piece_key(key: str, index: int) -> str:
    """Name a piece of a version of a file.

    >>> whole_key(piece_key("a.png/7/9", 3))
    'a.png/7/9'
    """
    return f"{key}{BETWEEN}{index}"


def whole_key(key: str) -> str:
    """Return the version of a file that a piece belongs to."""
    return key.rsplit(BETWEEN, 1)[0]


@dataclass(frozen=True, slots=True)
class PanelCutter:
    """Cuts panels into strips. `template`: the product's golden panel; `folder` is its own, for that one's strips."""

    limits: PanelLimits
    template: Path | None
    folder: Path

    def shots(
        self,
        path: Path,
        template: Path | None,
        *,
        after: int = -1,
        stamp: Callable[[], datetime] | None = None,
        key: str | None = None,
    ) -> Iterator[Shot]:
        """Yield the strips of a panel after number `after`, each with the same strip of its golden template.

        What is wrong with the panel is a last shot with a fault; strips before it are as good as any. The last shot's
        key is `key`, which names the whole file.
        """
        if after >= MOST_PIECES:
            return
        tiles: list[Tile] = []
        at = -1
        try:
            with open_rows(path, max_px=self.limits.max_px, max_side=self.limits.max_side) as rows:
                boxes = self._boxes(rows)
                size, of = (rows.width, rows.height), len(boxes)
                tiles = [Tile(panel=path.stem, index=i, of=of, box_px=box, size_px=size) for i, box in enumerate(boxes)]
                golden = self._golden(template or self.template, rows, boxes)
                for at, (tile, strip) in enumerate(zip(tiles, pieces(rows, boxes), strict=True)):
                    if at > after:
                        yield Shot(
                            name=piece_name(path, at, of),
                            data=encoded(strip),
                            media_type="image/png",
                            taken_at=None if stamp is None else stamp(),
                            serial=serial_of(path),
                            template=None if golden is None else (golden / f"{at}.png").read_bytes(),
                            key=key if at == of - 1 or key is None else piece_key(key, at),
                            sound=True,
                            tile=tile,
                        )
        except BadInput as error:
            shot = broken(path, str(error), stamp, key)
            yield shot if at + 1 >= len(tiles) else replace(shot, tile=tiles[at + 1])

    def _boxes(self, rows: Rows) -> list[Box]:
        px = int(self.limits.max_bytes * FILLED) // rows.channels
        return cut_panel(rows.width, rows.height, px, self.limits.overlap_px)

    def _golden(self, template: Path | None, rows: Rows, boxes: Sequence[Box]) -> Path | None:
        """Return the folder with a golden template's strips, cut now where they are not there yet."""
        if template is None:
            return None
        try:
            made = f"{template.resolve()} {template.stat().st_mtime_ns} {rows.channels} {boxes}"
            kept = self.folder / hashlib.sha256(made.encode()).hexdigest()[:16]
            if not kept.exists():
                shutil.rmtree(self.folder, ignore_errors=True)
                fresh = self.folder / "new"
                fresh.mkdir(parents=True)
                self._cut_golden(template, rows, boxes, fresh)
                fresh.rename(kept)
        except OSError as error:
            raise BadInput(
                f"the strips of {template.name} cannot be kept in {self.folder}: {error.strerror}"
            ) from error
        return kept

    def _cut_golden(self, template: Path, rows: Rows, boxes: Sequence[Box], folder: Path) -> None:
        """Write a golden template's strips; grey where its panel is grey."""
        with open_rows(template, max_px=self.limits.max_px, max_side=self.limits.max_side) as golden:
            if (golden.width, golden.height) != (rows.width, rows.height):
                raise BadPicture(
                    f"the panel is {rows.width}x{rows.height} px, its template {template.name} "
                    f"{golden.width}x{golden.height}; take both with the same camera settings"
                )
            for index, strip in enumerate(pieces(golden, boxes)):
                grey = golden.channels > rows.channels
                body = encoded(np.asarray(cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY), np.uint8) if grey else strip)
                (folder / f"{index}.png").write_bytes(body)


MOST_PIECES = 9999
"""Stands for the number of the last piece in the name of what is sent in place of all that follow."""


def piece_name(path: Path, index: int, of: int) -> str:
    """Name a strip after its file, so that names are in order.

    >>> piece_name(Path("a.tif"), 3, 25)
    'a.tif#0003'
    """
    return f"{path.name}#{MOST_PIECES if index == of - 1 else index:04d}"


def sent_of(path: Path, after: str | None) -> int:
    """Return the number of the last strip of a panel that was sent, given the last name of all; -1 for none.

    >>> sent_of(Path("b.tif"), "a.tif#9999"), sent_of(Path("b.tif"), "b.tif#0003"), sent_of(Path("b.tif"), None)
    (-1, 3, -1)
    """
    name, _, number = ("" if after is None else after).rpartition("#")
    if not number.isdigit():
        return -1
    return int(number) if name == path.name else (MOST_PIECES if name > path.name else -1)


def serial_of(path: Path) -> str | None:
    """Return the serial in a file's name `SERIAL_test.*`."""
    return path.stem.removesuffix("_test") if path.stem.endswith("_test") else None


def broken(path: Path, fault: str, stamp: Callable[[], datetime] | None, key: str | None) -> Shot:
    """Return what stands for all of a panel that cannot be read on: the file's head and what is wrong."""
    data, size, digest = b"", 0, hashlib.sha256()
    with suppress(OSError), path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            data = data or chunk[:HEAD_BYTES]
            size += len(chunk)
            digest.update(chunk)
    return Shot(
        name=piece_name(path, MOST_PIECES, 0),
        data=data,
        whole_bytes=size,
        sha256=digest.hexdigest(),
        taken_at=None if stamp is None else stamp(),
        serial=serial_of(path),
        key=key,
        fault=f"{path.name}: {fault.removeprefix(f'{path}: ')}",
    )


def encoded(strip: Band) -> bytes:
    """Encode a strip, grey (h, w) or RGB (h, w, 3), as PNG."""
    shown = strip if strip.ndim == 2 else cv2.cvtColor(strip, cv2.COLOR_RGB2BGR)  # noqa: PLR2004 - rows, columns
    ok, buffer = cv2.imencode(".png", np.ascontiguousarray(shown), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise BadPicture(f"a strip of shape {strip.shape} cannot be written as PNG")
    return bytes(buffer.tobytes())
