"""Boards seen from above: one product's artwork, a particular board's faults, pose and light."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, hypot, radians

import numpy as np

from taktwatch.simulator.artwork import BLEED_PX, draw_artwork
from taktwatch.simulator.camera import Chances, draw_pose, golden_picture, photograph, to_picture
from taktwatch.simulator.defects import place_defects
from taktwatch.simulator.look import BoardLook, product_look
from taktwatch.simulator.oddities import drilled
from taktwatch.simulator.truth import BOARD_DEFECTS, Picture, SimulatedPicture, Truth

__all__ = ["board", "golden"]

EDGE_MARGIN_PX = 12  # no defect comes closer to the edge of its picture
LEAST_TRUTH_PX = 3


def board(
    layout_seed: int,
    board_seed: int,
    *,
    size: tuple[int, int] = (640, 640),
    defects: Sequence[str] | None = None,
    defect_probability: float = 0.1,
    look: BoardLook | None = None,
    shot: int | None = None,
) -> SimulatedPicture:
    """Photograph one board of a product beside its golden template; `size` is (height, width) in px.

    `layout_seed` (0 or more) fixes the product: its artwork, in the style of its look, and, where `look` is None, how
    it looks under a colour camera.
    `board_seed` (0 or more) fixes all that varies between its boards. `defects` None: with `defect_probability` the
    board has one to three, drawn at random; otherwise it has those listed, as far as each finds a place.
    `shot` (0 or more) is another picture of that very board: pose, focus, light, sensor noise and dust are the
    picture's own; copper, holes, defects, colours and blotches stay.

    >>> good = board(1, 2, size=(96, 96), defects=())
    >>> good.picture.shape, good.truths
    ((96, 96, 3), ())
    """
    # Separate streams: the board without its defects is the same board, in the same pose and light.
    streams = np.random.default_rng([0xB0A2D, layout_seed, board_seed]).spawn(6)
    chance, posing, spoiling, etching, drilling, ageing = streams
    filming, dust = etching, ageing  # a board's only picture goes on where its board's chances end
    if shot is not None:
        posing, filming, dust = np.random.default_rng([0x5407, layout_seed, board_seed, shot]).spawn(3)
    chances = Chances(etching, ageing, filming, dust)
    look = product_look(layout_seed) if look is None else look
    if defects is None:
        spoiled = chance.random() < defect_probability
        defects = tuple(chance.choice(BOARD_DEFECTS, int(chance.integers(1, 4))).tolist()) if spoiled else ()
    pose = draw_pose(size, look, posing)
    travel = look.max_shift_px + radians(look.max_rotation_deg) * hypot(*size) / 2
    art = drilled(draw_artwork(layout_seed, size, look.style), look, drilling)
    copper, placed = place_defects(art, defects, BLEED_PX + EDGE_MARGIN_PX + ceil(travel), spoiling)
    art = replace(art, copper=copper)
    picture = photograph(layout_seed, size, art=art, look=look, pose=pose, chances=chances)
    carried = (Truth(defect.label, to_picture(defect.mask, pose, size)) for defect in placed)
    truths = tuple(truth for truth in carried if np.count_nonzero(truth.mask) >= LEAST_TRUTH_PX)
    return SimulatedPicture(picture, golden_picture(layout_seed, size, look).copy(), truths)


def golden(layout_seed: int, *, size: tuple[int, int] = (640, 640), look: BoardLook | None = None) -> Picture:
    """Give the golden template of a product: clean, centred, no noise; uint8 RGB (H, W, 3)."""
    return golden_picture(layout_seed, size, product_look(layout_seed) if look is None else look).copy()
