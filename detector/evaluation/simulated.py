"""Simulated sets, the same again for the same words: `sim:board?layouts=40&boards=5&camera=mixed`."""

import hashlib
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Literal, get_args
from urllib.parse import parse_qsl

import numpy as np

from detector.dataset import CAMERA_SHARES, CAMERAS, HELD_OUT, MOST_DEFECTS
from detector.evaluation.labelled import Dataset, Item, Labelled
from detector.evaluation.outcomes import TrueDefect
from taktwatch import __version__
from taktwatch.errors import BadInput
from taktwatch.rle import bbox, encode
from taktwatch.simulator import (
    BOARD_DEFECTS,
    SECTION_CLASSES,
    STYLES,
    SimulatedPicture,
    Style,
    board,
    product_look,
    section,
)

__all__ = ["FIRST", "SimulatedSet", "open_simulated", "parse_simulated"]

FIRST = HELD_OUT + 1_000_000
"""First layout seed where none is given: neither training nor its validation draws from here on."""

View = Literal["board", "section"]
LEAST_SIDE_PX = 96


@dataclass(frozen=True, slots=True)
class SimulatedSet:
    """`boards` boards of each of `layouts` products, drawn from seeds.

    `defective`: share of boards with defects, `most` of them on one board of the board view. `style`: how boards are
    drawn; nothing is trained on `held-out`. `reimaged`: the good pictures of a product show so many boards in turn,
    each etched once and pictured again and again (board view alone); 0: every picture shows a board of its own.
    """

    view: View
    layouts: int = 40
    boards: int = 5
    first: int = FIRST
    defective: float = 0.5
    camera: str = "mixed"
    height: int = 640
    width: int = 640
    most: int = MOST_DEFECTS
    style: Style = "plain"
    reimaged: int = 0


SETTINGS = tuple(field.name for field in fields(SimulatedSet) if field.name != "view")


def open_simulated(where: str) -> Dataset:
    """Return a simulated set. Raises `BadInput` for words that mean nothing."""
    asked = parse_simulated(where)
    items = [
        Item(
            f"layout-{asked.first + layout}-board-{number}",
            f"layout-{asked.first + layout}",
            partial(_load, asked, layout, number),
        )
        for layout in range(asked.layouts)
        for number in range(asked.boards)
    ]
    labels = BOARD_DEFECTS if asked.view == "board" else SECTION_CLASSES
    named = str(asked).replace(", reimaged=0", "")  # sets are named as they were before boards could be re-imaged
    sha256 = hashlib.sha256(f"{named} taktwatch {__version__}".encode()).hexdigest()
    return Dataset(where, "sim", asked.view, labels, items, sha256)


def parse_simulated(where: str) -> SimulatedSet:
    """Read `sim:VIEW?key=value&...`. Raises `BadInput`.

    >>> parse_simulated("sim:board?layouts=3&boards=2&camera=binary").layouts
    3
    """
    view, _, query = where.removeprefix("sim:").partition("?")
    if view not in get_args(View):
        raise BadInput(f"{where}: no simulated view {view!r}; there are: {', '.join(get_args(View))}")
    chosen: View = "board" if view == "board" else "section"
    asked = SimulatedSet(chosen) if chosen == "board" else SimulatedSet(chosen, height=384, width=512)
    values: dict[str, int | float | str] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in SETTINGS:
            raise BadInput(f"{where}: unknown setting {key!r}; there are: {', '.join(SETTINGS)}")
        try:
            values[key] = type(getattr(asked, key))(text)
        except ValueError:
            raise BadInput(f"{where}: {key}={text} is no number") from None
    asked = replace(asked, **values)  # type: ignore[arg-type]  # each has its default's type
    _check(asked, where)
    return asked


def _check(asked: SimulatedSet, where: str) -> None:
    """Refuse settings that cannot be drawn."""
    if min(asked.layouts, asked.boards, asked.most) < 1 or asked.first < 0:
        raise BadInput(f"{where}: layouts, boards and most are at least 1, first is at least 0")
    if asked.reimaged < 0 or (asked.reimaged and asked.view == "section"):
        raise BadInput(
            f"{where}: reimaged={asked.reimaged}: boards of the board view are re-imaged, 0 or more a product"
        )
    if not 0 <= asked.defective <= 1:
        raise BadInput(f"{where}: defective={asked.defective} is no share; give 0 to 1")
    if asked.camera not in (*CAMERAS, "mixed"):
        raise BadInput(f"{where}: no camera {asked.camera!r}; there are: {', '.join(CAMERAS)}, mixed")
    styles = STYLES if asked.view == "board" else STYLES[:-1]  # no style of sections is held out
    if asked.style not in styles:
        raise BadInput(f"{where}: no style {asked.style!r}; there are: {', '.join(styles)}")
    if min(asked.height, asked.width) < LEAST_SIDE_PX:
        raise BadInput(f"{where}: a side below {LEAST_SIDE_PX} px shows nothing")


def _load(asked: SimulatedSet, layout: int, number: int) -> Labelled:
    """Draw one board."""
    seed = asked.first + layout
    rng = np.random.default_rng([0xE7A1, seed, number])
    size = (asked.height, asked.width)
    spoiled, board_seed = rng.random() < asked.defective, int(rng.integers(2**31))
    drawn: SimulatedPicture
    if asked.view == "section":
        drawn = section(seed, board_seed, size=size, sites=int(rng.integers(1, 5)) if spoiled else 0, style=asked.style)
    else:
        # One camera looks at one product, whatever board of it passes.
        mixed = str(np.random.default_rng([0xE7A2, seed]).choice(CAMERAS, p=CAMERA_SHARES))
        camera = mixed if asked.camera == "mixed" else asked.camera
        look = product_look(seed, camera, asked.style)  # type: ignore[arg-type]  # checked when parsed
        count = int(rng.integers(1, asked.most + 1)) if spoiled else 0
        defects = rng.choice(BOARD_DEFECTS, count).tolist()
        shot = None
        if asked.reimaged and not spoiled:
            good = np.random.default_rng([0xE7A3, seed, number % asked.reimaged])
            board_seed, shot = int(good.integers(2**31)), number
        drawn = board(seed, board_seed, size=size, defects=defects, look=look, shot=shot)
    truths = []
    for truth in drawn.truths:
        rle = encode(truth.mask)
        x0, y0, x1, y1 = bbox(rle)
        box = (float(x0), float(y0), float(x1), float(y1))
        truths.append(TrueDefect(label=truth.label, box_px=box, mask=rle, area_px=int(truth.mask.sum())))
    return Labelled(drawn.picture, drawn.template, tuple(truths))
