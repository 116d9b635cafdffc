"""Measures a screen: validation boards in, a threshold and what it misses out, screen.json beside the model.

The threshold is chosen on every second board (product, layout) of the set and measured on the others, so that the bound
holds for boards that the threshold has not met.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from detector.beside import hashed
from detector.engines.screened import ScreenedEngine
from detector.evaluation.labelled import Dataset, Item
from detector.evaluation.matching import pair
from detector.evaluation.outcomes import Outcome
from detector.evaluation.runner import Runner, choose_product, model_folder, with_engine
from detector.masks import Roi
from detector.screen import LEVELS, METHOD, covers, strength
from detector.screening import Screening, save_screenings
from taktwatch.config import LineConfig
from taktwatch.errors import BadInput
from taktwatch.rle import bbox, decode_roi

__all__ = ["choose_threshold", "measure_screen"]

FAINTER = 0.8
"""The threshold is this share of the faintest defect that is to be seen: others will be fainter."""
CHOSEN_SHARE = 0.25
"""Of what may be missed, so much may be while choosing; the rest is for what the bound does not know."""
AROUND_PX = 2
"""Around a defect its difference is smeared by the screen's smoothing."""


def measure_screen(
    config: LineConfig,
    model: str,
    data: Dataset,
    *,
    engines: Sequence[str],
    product: str | None = None,
    on_board: Callable[[], None] = lambda: None,
) -> list[Screening]:
    """Show validation boards to a model with and without screen on each engine, and write what the screen misses.

    `on_board` is called after each board. Raises what `evaluate` raises, and `BadInput` for a model without template
    and a set that cannot be halved.
    """
    name = choose_product(config, data, product)
    folder = model_folder(config, model)
    # Other layouts than the product's are shown: regions drawn on its template mean nothing there.
    whole = config.product(name).model_copy(update={"roi": None, "ignore": ()})
    config = config.model_copy(update={"products": {**config.products, name: whole}})
    runners = [Runner(with_engine(config, engine), folder, name) for engine in engines]
    for runner in runners:
        runner.check(data)
    if runners[0].model.spec.input != "template":
        raise BadInput(f"{model} sees no template: there is no difference to screen by")
    choosing, measuring = _halves(data)
    faint = []
    for item in choosing:
        faint += _peaks(runners[0], item)
        on_board()
    if not faint:
        raise BadInput(f"{data.name}: no defect on the boards that the threshold is chosen on; give more boards")
    threshold = choose_threshold(faint, runners[0].product.screen_max_miss)
    counts = [_Count(runner, threshold) for runner in runners]
    for item in measuring:
        for count in counts:
            count.add(item)
        on_board()
    made = [count.screening(data, name, len(faint)) for count in counts]
    save_screenings(folder, made)
    return made


def choose_threshold(peaks: Sequence[float], most: float) -> float:
    """Return the threshold for defects that differ by so much at their strongest, in spreads, and a share to miss.

    >>> choose_threshold([0.5, 1.0, 2.0], 0.01)
    0.4
    """
    spared = int(CHOSEN_SHARE * most * len(peaks))
    return round(max(FAINTER * sorted(peaks)[spared], 1 / LEVELS), 4)


class _Count:
    """Counts what a screen misses of one model on one engine."""

    def __init__(self, runner: Runner, threshold: float) -> None:
        self.runner = runner
        self.screen = ScreenedEngine(runner.engine, threshold, "")
        self.pictures = self.defects = self.uncovered = self.lost = self.unasked = self.whole = 0
        self.seen = 0.0

    def add(self, item: Item) -> None:
        """Look at one picture with and without screen."""
        labelled = item.load()
        prepared = self.runner.prepared(item, labelled)
        channels = prepared.inputs.channels
        sheet = self.screen.layout(channels)
        plain = self.runner.outcome(item, labelled, prepared, self.runner.engine.infer([channels])[0])
        behind = self.runner.outcome(item, labelled, prepared, self.screen.infer([channels])[0])
        defects = [Roi(*decode_roi(truth.mask)) for truth in labelled.truths]
        uncovered = {at for at, defect in enumerate(defects) if not covers(sheet, defect)}
        self.pictures += 1
        self.defects += len(labelled.truths)
        self.uncovered += len(uncovered)
        self.lost += len(_reported(plain) - _reported(behind) - uncovered)
        self.unasked += sheet is not None and not sheet.crops
        self.whole += sheet is None
        self.seen += 1.0 if sheet is None else sheet.size[0] * sheet.size[1] / channels[0].size

    def screening(self, data: Dataset, name: str, chosen_on: int) -> Screening:
        """Sum up. Raises `BadInput` where there was no defect."""
        if not self.defects:
            raise BadInput(f"{data.name}: no defect on the boards that the screen is measured on; give more boards")
        ref = self.runner.engine.ref
        made = Screening(
            model_id=ref.model_id,
            engine=ref.engine,
            precision=ref.precision,
            domain=self.runner.product.domain or name,
            dataset=data.name,
            dataset_sha256=data.sha256,
            method=METHOD,
            threshold=self.screen.threshold,
            chosen_on=chosen_on,
            pictures=self.pictures,
            defects=self.defects,
            uncovered=self.uncovered,
            lost=self.lost,
            unasked=self.unasked,
            whole=self.whole,
            seen=self.seen / self.pictures,
        )
        return msgspec.structs.replace(made, sha256=hashed(made))


def _halves(data: Dataset) -> tuple[list[Item], list[Item]]:
    """Return the pictures of every second board, and those of the others."""
    boards = sorted({item.board for item in data.items})
    first = set(boards[::2])
    return [one for one in data.items if one.board in first], [one for one in data.items if one.board not in first]


def _peaks(runner: Runner, item: Item) -> list[float]:
    """Return how strongly each true defect of a picture differs at its strongest, in spreads."""
    labelled = item.load()
    differs: npt.NDArray[np.uint8] = strength(runner.prepared(item, labelled).inputs.channels)
    found = []
    for truth in labelled.truths:
        x0, y0, x1, y1 = bbox(truth.mask)
        around = differs[max(y0 - AROUND_PX, 0) : y1 + AROUND_PX, max(x0 - AROUND_PX, 0) : x1 + AROUND_PX]
        found.append(float(around.max()) / LEVELS)
    return found


def _reported(outcome: Outcome) -> set[int]:
    """Return which truths are reported, under whatever name."""
    said = pair(outcome.truths, outcome.found)
    return {truth for truth, _ in (*said.hits, *said.confused)}
