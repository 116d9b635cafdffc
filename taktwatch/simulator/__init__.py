"""Draws pictures with known truth: boards from above with their golden template, and layer sections edge-on.

Nothing here is read or measured from a real board; a seed makes any picture again, bit by bit.
"""

from taktwatch.simulator.board import board, golden
from taktwatch.simulator.look import STYLES, BoardLook, Style, product_look
from taktwatch.simulator.section import section
from taktwatch.simulator.truth import BOARD_DEFECTS, SECTION_CLASSES, LayerTruth, SimulatedPicture, Truth

__all__ = [
    "BOARD_DEFECTS",
    "SECTION_CLASSES",
    "STYLES",
    "BoardLook",
    "LayerTruth",
    "SimulatedPicture",
    "Style",
    "Truth",
    "board",
    "golden",
    "product_look",
    "section",
]
