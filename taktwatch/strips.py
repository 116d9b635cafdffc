"""How a picture too large for one piece is cut: overlapping pieces of one size, as few as may be. Pure."""

from math import ceil

__all__ = ["Box", "cut", "cut_panel", "spans"]

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in px, ends exclusive."""

LEAST_ROWS = 512
"""A strip of fewer rows is mostly overlap: where full rows are too long for more, they are cut, too."""


def spans(length: int, most: int, overlap: int) -> list[tuple[int, int]]:
    """Cut `length` px into the fewest spans of at most `most` px, all equally long, sharing `overlap` or more.

    Raises `ValueError` where `most` leaves nothing beside the overlap.

    >>> spans(100, 100, 10), spans(100, 60, 10)
    ([(0, 100)], [(0, 55), (45, 100)])
    """
    if length <= most:
        return [(0, length)]
    if most <= overlap:
        raise ValueError(f"spans of {most} px cannot overlap by {overlap} px")
    count = ceil((length - overlap) / (most - overlap))
    size = ceil((length + (count - 1) * overlap) / count)
    starts = [index * (length - size) // (count - 1) for index in range(count)]
    return [(start, start + size) for start in starts]


def cut(width: int, height: int, most: tuple[int, int], overlap: int) -> list[Box]:
    """Cut a picture into pieces of at most `most` (width, height) px, row by row.

    >>> cut(8, 6, (5, 6), 2)
    [(0, 0, 5, 6), (3, 0, 8, 6)]
    """
    columns = spans(width, most[0], overlap)
    return [(x0, y0, x1, y1) for y0, y1 in spans(height, most[1], overlap) for x0, x1 in columns]


def cut_panel(width: int, height: int, px: int, overlap: int) -> list[Box]:
    """Cut a panel into strips of at most `px` pixels; where full rows are too long for 512 of them, rows are cut, too.

    >>> [box[1::2] for box in cut_panel(100, 1000, 60_000, 100)]
    [(0, 550), (450, 1000)]
    >>> len(cut_panel(16_000, 16_000, 12_000_000, 96))
    25
    """
    count = 1
    while True:
        across = ceil((width + (count - 1) * overlap) / count)
        down = px // across
        if down >= min(height, LEAST_ROWS, across) or across <= 2 * overlap:
            break
        count += 1
    return cut(width, height, (across, max(down, overlap + 1)), overlap)
