"""A picture too large for the network in one piece goes through it in tiles; what they show is put together again.

While some tiles are in the network, the next ones are registered and those before are judged: at most three batches of
tiles are held.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from detector.inputs import Contrast, contrast_of, inputs_of
from detector.judge import Judgement
from detector.pieces.joining import Box, Said, join, registration_on, worst
from detector.pieces.tiles import Compass, Tile, tiles_of
from detector.reference import fit
from detector.steps import Inspection, Prepared, Seen
from taktwatch.clock import us_since
from taktwatch.config import DetectorConfig, ProductConfig
from taktwatch.records import Detection

__all__ = ["Tiled", "conclude_large", "look_large", "together"]

BATCH_PX = 1_000_000
"""So many pixels go through the network together, or one tile: memory grows with them, a CPU's pace does not."""


@dataclass(frozen=True, eq=False, slots=True)
class Tiled:
    """What was said of each tile of a large picture."""

    tiles: tuple[tuple[Tile, Inspection], ...]


def look_large(
    one: Prepared,
    infer: Callable[[Sequence[Prepared]], list[Seen]],
    conclude: Callable[[Prepared, Seen], Inspection],
    settings: DetectorConfig,
    product: ProductConfig,
) -> Tiled:
    """Look at a picture with `large` set in tiles of `settings.tile_px`.

    `infer` runs the network over tiles of one size, in this thread; `conclude` says what it found in one, in another.
    """
    assert one.large is not None  # noqa: S101 - narrows the type; who calls has looked
    compass, contrast = Compass(), contrast_of(one.large[0])
    tiles = tiles_of(*one.large, settings.tile_px, settings.tile_overlap_px, compass)
    done: list[tuple[Tile, Inspection]] = []
    with (
        ThreadPoolExecutor(1, thread_name_prefix="tiles") as ahead,
        ThreadPoolExecutor(1, thread_name_prefix="tiles-judged") as behind,
    ):

        def more() -> list[tuple[Tile, Prepared]]:
            first = next(tiles, None)
            if first is None:
                return []
            together = min(settings.max_batch, max(1, BATCH_PX // (first.picture.shape[0] * first.picture.shape[1])))
            return [ready(tile) for tile in (first, *islice(tiles, together - 1))]

        def ready(tile: Tile) -> tuple[Tile, Prepared]:
            return tile, prepared(one, tile, compass, contrast, product)

        def judged(held: Sequence[tuple[Tile, Prepared]], seen: Sequence[Seen]) -> None:
            done.extend((tile, conclude(each, found)) for (tile, each), found in zip(held, seen, strict=True))

        coming, judging = ahead.submit(more), behind.submit(judged, (), ())
        while held := coming.result():
            coming = ahead.submit(more)
            seen = looked(held, infer)
            judging.result()
            judging = behind.submit(judged, held, seen)
        judging.result()
    return Tiled(tuple(done))


def looked(held: Sequence[tuple[Tile, Prepared]], infer: Callable[[Sequence[Prepared]], list[Seen]]) -> list[Seen]:
    """Run the network over tiles, those of one size together; return what it saw in their order."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for place, (_, each) in enumerate(held):
        sizes.setdefault(each.size, []).append(place)
    seen = {
        place: one
        for places in sizes.values()
        for place, one in zip(places, infer([held[place][1] for place in places]), strict=True)
    }
    return [seen[place] for place in range(len(held))]


def conclude_large(
    one: Prepared,
    tiled: Tiled,
    product: ProductConfig,
    judged: Callable[[Prepared, Sequence[Detection]], Judgement],
) -> Inspection:
    """Put together what was said of the tiles.

    A board is judged by its worst tile, a section as a whole by `judged`: its layers go through many tiles.
    """
    whole = joined(one, tiled.tiles, product.box_margin_um / one.um_per_px)
    if product.view == "board":
        return whole
    said = judged(one, whole.detections)
    return replace(
        whole,
        verdict=said.verdict,
        reasons=said.reasons,
        doubts=said.doubts,
        detections=said.detections,
        layers=said.layers,
    )


def prepared(one: Prepared, tile: Tile, compass: Compass, contrast: Contrast, product: ProductConfig) -> Prepared:
    """Make a tile of a large picture ready, and teach the compass where its template lay."""
    began = time.perf_counter_ns()
    inputs = inputs_of(tile.picture, tile.template, contrast)
    if tile.blank:
        inputs = replace(inputs, registration=None)  # of a panel's bare rim no fit can be asked
    if inputs.registration is not None:
        compass.learn(tile.box, registration_on(inputs.registration, tile.box[:2], tile.template_at))
    return replace(
        one,
        inputs=inputs,
        doubts=(*one.doubts, *fit(product, inputs, None)),
        timings_us={"prepare": us_since(began)},
        origin=(one.origin[0] + tile.box[0], one.origin[1] + tile.box[1]),
        template_origin=(one.template_origin[0] + tile.template_at[0], one.template_origin[1] + tile.template_at[1]),
        large=None,
    )


def joined(one: Prepared, tiles: Sequence[tuple[Tile, Inspection]], margin_px: float) -> Inspection:
    """Put together what was said of the tiles of a picture."""
    began = time.perf_counter_ns()
    pieces = [(tile.box, tile.template_at, said) for tile, said in tiles]
    whole = together(pieces, one.size, margin_px=margin_px, origin=one.origin)
    judging_us = whole.timings_us.get("judge", 0) + us_since(began)
    return replace(whole, timings_us={**one.timings_us, **whole.timings_us, "judge": judging_us})


def together(
    pieces: Sequence[tuple[Box, tuple[int, int], Inspection]],
    size: tuple[int, int],
    *,
    margin_px: float,
    origin: tuple[int, int] = (0, 0),
) -> Inspection:
    """Put together what was said of overlapping pieces of a whole (height, width); the rest is as `join` has it.

    A piece has a box, the place in the whole template where its own begins (x, y), and an inspection. The worst verdict
    decides, the template's worst fit stands for all, and times are added up.
    """
    inspections = [said for _, _, said in pieces]
    detections, reasons = join(
        [Said(box, said.detections, said.reasons) for box, _, said in pieces], size, margin_px=margin_px, origin=origin
    )
    registered = [
        registration_on(said.registration, box[:2], template_at)
        for box, template_at, said in pieces
        if said.registration is not None
    ]
    stages = dict.fromkeys(stage for said in inspections for stage in said.timings_us)
    return replace(
        inspections[0],
        verdict=worst([said.verdict for said in inspections]),
        reasons=reasons,
        doubts=tuple(dict.fromkeys(doubt for said in inspections for doubt in said.doubts)),
        detections=detections,
        registration=min(registered, key=lambda found: found.quality, default=None),
        timings_us={stage: sum(said.timings_us.get(stage, 0) for said in inspections) for stage in stages},
    )
