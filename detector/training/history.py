"""What a run looked like: losses and figures by step, kept in `history.jsonl` and drawn in `training.html`."""

from html import escape
from pathlib import Path

import msgspec
import numpy as np

from detector.evaluation.charts import Axis, Curve, chart

__all__ = ["History", "Line", "page"]

FILE, PAGE = "history.jsonl", "training.html"
FIGURES = ("ap33", "ap33_pooled", "f33", "mask_iou")
TICKS = 5


class Line(msgspec.Struct, frozen=True):
    """Mean losses since the line before, or figures on held-out pictures, after so many steps."""

    step: int
    losses: dict[str, float] = {}
    figures: dict[str, float] = {}


class History:
    """Writes a run's history; a run that goes on keeps what lies before its checkpoint."""

    def __init__(self, folder: Path, name: str, *, resumed_at: int) -> None:
        self.folder, self.name = folder, name
        path = folder / FILE
        known = path.read_bytes().splitlines() if path.exists() else []
        lines = [msgspec.json.decode(line, type=Line) for line in known]
        self.lines = [line for line in lines if line.step <= resumed_at] if resumed_at else []

    def step(self, step: int, losses: dict[str, float]) -> None:
        """Note mean losses."""
        self._add(Line(step, losses=losses))

    def measured(self, step: int, figures: dict[str, float]) -> None:
        """Note figures on held-out pictures, and draw everything again."""
        self._add(Line(step, figures=figures))
        (self.folder / PAGE).write_text(page(self.name, self.lines), encoding="utf-8")

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        self.folder.mkdir(parents=True, exist_ok=True)
        text = b"".join(msgspec.json.encode(one) + b"\n" for one in self.lines)
        (self.folder / FILE).write_bytes(text)


def page(name: str, lines: list[Line]) -> str:
    """Return the history as one HTML page with two charts."""
    losses = [line for line in lines if line.losses]
    measured = [line for line in lines if line.figures]
    last = max((line.step for line in lines), default=1)
    totals = [sum(line.losses.values()) for line in losses]
    kinds = list(losses[0].losses) if losses else []
    curves = [Curve("all", [(line.step, total) for line, total in zip(losses, totals, strict=True)])]
    curves += [
        Curve(kind, [(line.step, line.losses[kind]) for line in losses], colour=colour)
        for colour, kind in enumerate(kinds, 1)
    ]
    valid = [(line.step, line.figures["validation_loss"]) for line in measured if "validation_loss" in line.figures]
    curves.append(Curve("held out, all", valid, colour=len(kinds) + 1, dots=True))
    highest = max([*totals, *(value for _, value in valid), 0.1])
    figures = [
        Curve(figure, [(line.step, line.figures[figure]) for line in measured if figure in line.figures], colour=colour)
        for colour, figure in enumerate(FIGURES)
    ]
    steps = Axis("step", 0, last, _ticks(last))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(name)}: training</title>"
        "<style>body{font:15px system-ui,sans-serif;margin:2rem}svg{font:12px system-ui,sans-serif}</style>"
        f"<h1>{escape(name)}</h1><h2>Losses</h2>"
        + chart("Losses by step", "Losses in training and on held-out pictures", steps, _axis("loss", highest), curves)
        + "<h2>On held-out pictures</h2>"
        + chart("Figures by step", "Average precision, F and mask overlap", steps, _axis("0 to 1", 1.0), figures)
        + "</html>\n"
    )


def _axis(title: str, highest: float) -> Axis:
    return Axis(title, 0, highest, _ticks(highest))


def _ticks(highest: float) -> list[float]:
    """Return round numbers up to the highest.

    >>> _ticks(9000), _ticks(1.0)
    ([0.0, 2000.0, 4000.0, 6000.0, 8000.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    rough = highest / TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    width = power * next((round_ for round_ in (1, 2, 5, 10) if rough / power <= round_ + 1e-9), 10)
    return [round(float(at), 9) for at in np.arange(0, highest * (1 + 1e-9), width)]
