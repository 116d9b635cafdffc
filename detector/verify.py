"""Compares an engine with the reference on simulated boards, and keeps the proof beside the export."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from detector.dataset import CAMERAS, HELD_OUT, SECTION_PX, simulate
from detector.engines import Channels, Engine, RawDetections
from detector.engines.choose import EngineName, build_engine, parity_file
from detector.engines.exported import model_exports
from detector.inputs import rgb_inputs, template_inputs
from detector.judge import findings, judge
from detector.model import core
from detector.parity import Agreement, Parity, compare, summed
from detector.registry import LoadedModel, ModelCard
from detector.scale import Scale
from detector.scores import Scores
from detector.spec import ModelSpec
from taktwatch.config import ClassConfig, LineConfig, ProductConfig
from taktwatch.records import Verdict
from taktwatch.simulator import BOARD_DEFECTS, board, product_look

__all__ = ["draw", "drift", "proofs", "reference", "rules_for", "verify"]

FIRST = HELD_OUT + 3_000_000
"""First layout seed: no model was trained or evaluated on these products."""
SMALL_PX, LARGE_PX, LARGE_EVERY = (384, 384), (640, 640), 10
DEFECTS = (0, 1, 1, 1, 1, 2, 5)
BOARDS_EACH = 8
"""So many boards of one product in a row."""


def verify(
    config: LineConfig, model: LoadedModel, name: EngineName, *, boards: int, on_board: Callable[[], None]
) -> Parity:
    """Compare an engine with the reference on so many boards; writes the proof, whatever it says, and returns it."""
    engine = build_engine(model, name, config.detector)
    product = rules_for(config, model)
    place = parity_file(engine, name)
    agreements = []
    for channels in draw(model.spec, boards):
        agreements.append(_compared(model, engine, product, channels))
        on_board()
    parity = summed(agreements, engine.ref, "" if place is None else place[1])
    if place is not None:
        place[0].write_text(parity.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return parity


def drift(config: LineConfig, model: LoadedModel, engine: Engine, *, boards: int) -> Parity:
    """Compare the very engine that is to run with the reference on the first golden boards, now."""
    product = rules_for(config, model)
    return summed(
        [_compared(model, engine, product, channels) for channels in draw(model.spec, boards)], engine.ref, ""
    )


def proofs(engines_dir: Path, card: ModelCard) -> dict[str, Parity]:
    """Return what was measured of a model's exports here, newest runtime last, by export and engine."""
    found = {}
    for path in sorted(model_exports(card, engines_dir).glob("*/parity-*.json")):
        with suppress(OSError, ValidationError):
            found[f"{path.parent.name} {path.stem.removeprefix('parity-')}"] = Parity.model_validate_json(
                path.read_bytes()
            )
    return found


def rules_for(config: LineConfig, model: LoadedModel) -> ProductConfig:
    """Return the rules of the line's first product with this model; where there is none, default thresholds."""
    spec = model.spec
    own = next((one for one in config.products.values() if one.model == model.card.name and one.classes), None)
    classes = {label: ClassConfig() for label in spec.classes}
    return own or ProductConfig(view=spec.view, model=model.card.name, um_per_px=20.0, classes=classes)


def draw(spec: ModelSpec, boards: int) -> Iterator[Channels]:
    """Draw boards as the network sees them, most of them small, the same again each time.

    Every camera and every defect; most boards have one defect, because there one changed detection changes the verdict.
    """
    for number in range(boards):
        layout, rng = FIRST + number // BOARDS_EACH, np.random.default_rng([FIRST, number])
        if spec.view == "section":
            yield simulate(spec, layout, rng, SECTION_PX).channels
            continue
        camera = CAMERAS[layout % len(CAMERAS)]
        seen = board(
            layout,
            int(rng.integers(2**31)),
            size=LARGE_PX if number % LARGE_EVERY == 0 else SMALL_PX,
            defects=rng.choice(BOARD_DEFECTS, int(rng.choice(DEFECTS))).tolist(),
            look=product_look(layout, camera),  # type: ignore[arg-type]  # a tuple forgets the literals
        )
        picture, template = seen.picture, seen.template
        yield (rgb_inputs(picture) if template is None else template_inputs(picture, template)).channels


@torch.inference_mode()
def reference(model: LoadedModel, channels: Channels) -> RawDetections:
    """Return what the network itself says of one picture: torch, float32, uncut."""
    (found,) = core(model.network, torch.from_numpy(channels)[None])
    return RawDetections(**{name: found[name].numpy() for name in ("boxes", "labels", "scores", "masks")})


def _compared(model: LoadedModel, engine: Engine, product: ProductConfig, channels: Channels) -> Agreement:
    """Ask both about one board."""
    height, width = channels.shape[1:]
    expected, said = reference(model, channels), engine.infer([channels])[0]

    def verdict(raw: RawDetections) -> Verdict:
        found = findings(raw, model.spec, Scores(product), height, width)
        return judge(found, product, scale=Scale.square(product.um_per_px), height=height, width=width).verdict

    return compare(
        expected,
        said,
        size=(height, width),
        floor=model.spec.score_floor,
        verdicts=(verdict(expected), verdict(said)),
    )
