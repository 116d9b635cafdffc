"""Shapes that only the held-out style draws: free curves, teardrops, its own family of pads."""

import numpy as np

from taktwatch.simulator.pen import Points

__all__ = ["PADS", "arc", "curve", "heading", "pad", "teardrop", "turned"]

PADS = ("hexagon", "bullet", "squircle", "trapezoid", "cross", "lens")


def heading(angle: float) -> Points:
    """Give the direction of an angle in radians, (2,); y points down.

    >>> heading(0.0).tolist()
    [1.0, 0.0]
    """
    return np.array([np.cos(angle), np.sin(angle)])


def curve(start: Points, leaving: float, end: Points, arriving: float, slack: float = 0.4) -> Points:
    """Give a smooth way (25, 2) that leaves `start` and arrives at `end` under the angles given, in radians.

    A cubic Bezier curve whose arms are `slack` of the distance.

    >>> curve(np.zeros(2), 0.0, np.array([10.0, 0.0]), 0.0)[[0, 12, -1]].round(3).tolist()
    [[0.0, 0.0], [5.0, 0.0], [10.0, 0.0]]
    """
    reach = slack * float(np.linalg.norm(end - start))
    bends = start + reach * heading(leaving), end - reach * heading(arriving)
    at = np.linspace(0, 1, 25)[:, None]
    return np.asarray(
        (1 - at) ** 3 * start + 3 * at * (1 - at) ** 2 * bends[0] + 3 * at**2 * (1 - at) * bends[1] + at**3 * end
    )


def arc(centre: Points, radius_px: float, begin: float, turn: float) -> Points:
    """Give a piece of a circle, a point every few px: from the angle `begin` on, `turn` radians round."""
    count = max(4, int(abs(turn) * radius_px / 3) + 2)
    angles = begin + turn * np.linspace(0, 1, count)
    return centre + radius_px * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def turned(points: Points, at: Points, angle: float) -> Points:
    """Turn an outline (N, 2) drawn around the origin, and move it to `at`."""
    along, aside = heading(angle), heading(angle + np.pi / 2)
    return np.asarray(at + points[:, :1] * along + points[:, 1:] * aside)


def pad(kind: str, length: float, width: float) -> Points:
    """Outline (N, 2) of a pad around the origin, its length along x.

    >>> pad("hexagon", 20.0, 10.0).round(1).tolist()
    [[10.0, 0.0], [5.0, 5.0], [-5.0, 5.0], [-10.0, 0.0], [-5.0, -5.0], [5.0, -5.0]]
    """
    rx, ry = length / 2, width / 2
    round_end = arc(np.array([rx - min(rx, ry), 0.0]), min(rx, ry), -np.pi / 2, np.pi)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    cosine, sine = np.cos(angles), np.sin(angles)
    match kind:
        case "hexagon":
            corners = [[rx, 0], [rx / 2, ry], [-rx / 2, ry], [-rx, 0], [-rx / 2, -ry], [rx / 2, -ry]]
        case "bullet":
            return np.vstack([round_end, [[-rx, ry], [-rx, -ry]]])
        case "squircle":
            power = 0.5
            return np.stack(
                [rx * np.sign(cosine) * np.abs(cosine) ** power, ry * np.sign(sine) * np.abs(sine) ** power], axis=1
            )
        case "trapezoid":
            corners = [[rx, 0.6 * ry], [-rx, ry], [-rx, -ry], [rx, -0.6 * ry]]
        case "cross":
            x, y = 0.5 * rx, 0.5 * ry
            corners = [[rx, y], [x, y], [x, ry], [-x, ry], [-x, y], [-rx, y]]
            corners += [[-rx, -y], [-x, -y], [-x, -ry], [x, -ry], [x, -y], [rx, -y]]
        case _:
            return np.stack([rx * cosine, ry * sine * (0.75 + 0.25 * np.abs(sine))], axis=1)
    return np.array(corners, np.float64)


def teardrop(at: Points, angle: float, size_px: float, width_px: float) -> Points:
    """Outline (N, 2) of the fillet between a round pad of `size_px` and a trace of `width_px` that leaves it."""
    radius = size_px / 2
    # Leaves the pad's rim 60 degrees either side of the trace and runs into it one diameter away.
    rim = arc(at, radius, angle + np.pi / 3, -2 * np.pi / 3)
    aside, tip = heading(angle + np.pi / 2) * width_px / 2, at + heading(angle) * 1.15 * size_px
    return np.vstack([rim, [tip - aside, tip + aside]])
