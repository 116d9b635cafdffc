"""The simulated boards and sections on which engines are proven: the same ones each time, seen by no training."""

from collections.abc import Iterator

import numpy as np

from detector.engines import Channels
from detector.inputs import rgb_inputs, template_inputs
from detector.spec import ModelSpec
from taktwatch.simulator import BOARD_DEFECTS, board, product_look, section

__all__ = ["PRODUCT_BOARDS", "draw", "products"]

FIRST = 9_000_000
"""First layout seed: no model was trained or evaluated on these products."""
PRODUCT_BOARDS = 8
"""So many boards of one product, of one size, in a row."""
CAMERAS = ("colour", "grey", "binary")
SMALL_PX, LARGE_PX, LARGE_EVERY = (256, 256), (640, 640), 13
SECTION_PX, SECTION_DEFECTS = (256, 384), 0.8
DEFECTS = (0, 1, 1, 1, 1, 2, 5)


def products(boards: int) -> Iterator[range]:
    """Give the numbers of so many boards, product by product.

    >>> [list(one) for one in products(10)]
    [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]
    """
    for first in range(0, boards, PRODUCT_BOARDS):
        yield range(first, min(first + PRODUCT_BOARDS, boards))


def draw(spec: ModelSpec, number: int) -> Channels:
    """Draw one board as the network sees it, float32 (3, H, W).

    Every camera and every defect. Most boards are small and have one defect, because there one changed detection
    changes the verdict; every thirteenth product has the size of a whole board.
    """
    product = number // PRODUCT_BOARDS
    layout, rng = FIRST + product, np.random.default_rng([FIRST, number])
    seed = int(rng.integers(2**31))
    if spec.view == "section":
        return rgb_inputs(section(layout, seed, size=SECTION_PX, defect_probability=SECTION_DEFECTS).picture).channels
    seen = board(
        layout,
        seed,
        size=SMALL_PX if product % LARGE_EVERY else LARGE_PX,
        defects=rng.choice(BOARD_DEFECTS, int(rng.choice(DEFECTS))).tolist(),
        look=product_look(layout, CAMERAS[product % len(CAMERAS)]),  # type: ignore[arg-type]  # forgets the literals
    )
    picture, template = seen.picture, seen.template
    return (rgb_inputs(picture) if template is None else template_inputs(picture, template)).channels
