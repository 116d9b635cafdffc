"""The way of a picture through the detector: prepare, infer, judge. The service, the command line and replay share it.

No bus and no clock of the day; stage times are measured for the record of each result.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import msgspec

from detector.aligning.maps import moved
from detector.aligning.pattern import Pattern, Patterns
from detector.aligning.registration import matrix_of
from detector.doubts import Reason, named
from detector.engines import BringsAhead, Engine, RawDetections
from detector.engines.torch_engine import TorchEngine
from detector.engines.twice import looking_twice
from detector.evidence import reported
from detector.failsafe import SafeEngine
from detector.gate import refuse_unlicensed
from detector.inputs import grey_of
from detector.judge import Finding, Judgement, judge, within
from detector.large import Tiled, conclude_large, look_large
from detector.masks import Roi
from detector.pieces.cropping import look_at
from detector.pieces.joining import mapped, registration_on
from detector.pieces.tiles import shifted
from detector.proving.choose import open_engine, open_like
from detector.reference import Reference, differences, fit, open_reference
from detector.registry import LoadedModel, load_model
from detector.scale import SAME_SCALE, Zoom, zoom_of
from detector.scores import Scores, open_scores
from detector.screening import screened
from detector.steps import NO_INPUTS, Inspection, Picture, Prepared, Seen
from taktwatch.clock import us_since
from taktwatch.config import LineConfig, ProductConfig
from taktwatch.errors import BadInput, ConfigError
from taktwatch.records import Detection, ModelRef
from taktwatch.rle import decode_roi

__all__ = ["Inspector"]

WHOLE_TILES = 4
"""Pictures larger than so many tiles go through the network in tiles."""


@dataclass(eq=False)
class Inspector:
    """Holds the line's products and the engines of their models, each loaded once when first wanted.

    `tell` hears in words of an engine that had to be helped along. Other models make another inspector: what one
    has begun, it ends.
    """

    config: LineConfig
    engines: dict[str, Engine] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda _: None
    references: dict[str, Reference] = field(default_factory=dict)
    known_scores: dict[tuple[str, ModelRef], Scores] = field(default_factory=dict)
    used: dict[str, tuple[Engine, Engine]] = field(default_factory=dict)
    patterns: Patterns = field(default_factory=Patterns)
    loading: threading.Lock = field(default_factory=threading.Lock)

    def engine(self, product_name: str) -> Engine:
        """Return the engine of a product's model as the product uses it: with a second look, behind a screen.

        Raises `UnknownProduct`, `ModelError`, `ConfigError`.
        """
        product = self.config.product(product_name)
        with self.loading:
            if product.model not in self.engines:
                self.engines[product.model] = self.opened(self.load(product.model))
            engine = self.engines[product.model]
        if engine.spec.view != product.view:
            raise ConfigError(
                f"product {product_name!r} is a {product.view} view, its model {product.model!r} is for "
                f"{engine.spec.view} views; choose another model"
            )
        if strangers := sorted(product.classes.keys() - set(engine.spec.classes)):
            raise ConfigError(
                f"product {product_name!r} lists class {strangers[0]!r}, which its model {product.model!r} does not "
                f"know; it knows {', '.join(engine.spec.classes)}"
            )
        return self._as_used(product_name, engine)

    def _as_used(self, product_name: str, engine: Engine) -> Engine:
        """Return a model's engine as a product uses it: with a second look where it wants one, behind its screen."""
        with self.loading:
            of, used = self.used.get(product_name, (None, engine))
            if of is not engine:
                product = self.config.product(product_name)
                folder = self.config.detector.models_dir / product.model
                used = screened(looking_twice(engine, product), folder, product_name, product)
                self.used[product_name] = engine, used
            return used

    def load(self, name: str) -> LoadedModel:
        """Load a model that this line may run. Raises `ModelError`."""
        model = load_model(self.config.detector.models_dir / name)
        refuse_unlicensed(self.config, model.card)
        return model

    def opened(self, model: LoadedModel) -> SafeEngine:
        """Return a model's engine; torch on the CPU stands by for any other. Raises `ModelError`, `ConfigError`."""
        return self._safe(model, open_engine(model, self.config.detector))

    def opened_like(self, model: LoadedModel, at_work: ModelRef) -> SafeEngine | None:
        """Return a model's engine, the one that another is at work on; None where it may not run this one."""
        engine = open_like(model, self.config.detector, at_work)
        return None if engine is None else self._safe(model, engine)

    def _safe(self, model: LoadedModel, engine: Engine) -> SafeEngine:
        alone = isinstance(engine, TorchEngine) and engine.device.type == "cpu"

        def spare() -> Engine:
            return TorchEngine(model, device="cpu", threads=self.config.detector.threads)

        return SafeEngine(engine, None if alone else spare, self.tell)

    def reference(self, product_name: str) -> Reference:
        """Return what a product's folder knows of its good boards. Raises `UnknownProduct`, `ConfigError`."""
        product = self.config.product(product_name)
        with self.loading:
            if product_name not in self.references:
                self.references[product_name] = open_reference(product_name, product)
            return self.references[product_name]

    def scores(self, product_name: str, model: ModelRef) -> Scores:
        """Return a product's thresholds, and what scores of a model as it runs are worth. Raises `ModelError`."""
        product = self.config.product(product_name)
        with self.loading:
            if (product_name, model) not in self.known_scores:
                folder = self.config.detector.models_dir / product.model
                self.known_scores[product_name, model] = open_scores(folder, model, product_name, product)
            return self.known_scores[product_name, model]

    def prepare(
        self,
        product_name: str,
        picture: Picture,
        template: Picture | None,
        *,
        um_per_px: float | None = None,
        origin: tuple[int, int] = (0, 0),
        template_sha256: str | None = None,
        taken_at: datetime | None = None,
    ) -> Prepared:
        """Turn a picture and its golden template, both RGB (H, W, 3), into what the network sees.

        `um_per_px` None takes the product's; a calibrated camera's scale goes before either. `origin` (x, y): where
        both lie on a panel. `template_sha256` names the template, `taken_at` None looks at no expiry. Raises
        `BadPicture` for a template of another size that the scales do not explain, `BadInput` where the model wants a
        template and there is none, and what `engine` and `reference` raise.
        """
        began = time.perf_counter_ns()
        product, engine = self.config.product(product_name), self.engine(product_name)
        spec = engine.spec
        height, width = picture.shape[:2]
        if spec.input == "rgb":
            template = None
        elif template is None:
            raise BadInput(
                f"product {product_name!r} is compared with a golden template, and there is none; "
                "set products.*.template or put ID_temp.* beside the picture"
            )
        said_um = um_per_px or product.um_per_px
        zoom = zoom_of(product.um_per_px, said_um, (height, width), None if template is None else template.shape[:2])
        template = None if template is None else zoom.template(template, (height, width))
        large = height * width > WHOLE_TILES * self.config.detector.tile_px**2 * zoom.x * zoom.y
        reference = self.reference(product_name)
        rules = shifted(self.rules(product_name, template_sha256, zoom), *origin)
        crop, inputs = None, NO_INPUTS
        if not large:
            crop, inputs = look_at(rules, picture, template, partial(self._pattern, sha256=template_sha256))
            if isinstance(engine, BringsAhead) and zoom == SAME_SCALE:  # of others the network sees something else
                engine.bring(inputs.channels)
        x, y = (0, 0) if crop is None else crop.at
        # Of another camera's pictures good boards do not tell how sharp they should be.
        gates = reference.gates(picture, template_sha256, taken_at) if zoom == SAME_SCALE else ()
        doubts = (*gates, *fit(rules, inputs, template))
        return Prepared(
            product_name,
            reference.scale(said_um, zoom),
            inputs,
            {"prepare": us_since(began)},
            doubts=doubts,
            template_sha256=template_sha256,
            origin=(origin[0] + x, origin[1] + y),
            template_origin=(origin[0] + x, origin[1] + y),
            large=_kept(picture, template) if large else None,
            crop=crop,
            zoom=zoom,
        )

    def rules(
        self,
        product_name: str,
        template_sha256: str | None,
        zoom: Zoom = SAME_SCALE,
    ) -> ProductConfig:
        """Return a product as pictures compared with a template are judged, in px of frames of a zoom.

        Raises `UnknownProduct`, `ConfigError`.
        """
        return zoom.product(self.reference(product_name).rules(self.config.product(product_name), template_sha256))

    def _pattern(self, template: Picture | None, part: str = "", *, sha256: str | None) -> Pattern | None:
        """Return a template, or a part of it, as registration takes it; one that has a name is made only once."""
        if template is None:
            return None
        if sha256 is None:
            return Pattern(grey_of(template))
        height, width = template.shape[:2]
        return self.patterns.get(f"{sha256}{part}", (height, width), partial(grey_of, template))

    def inspect_batch(self, batch: Sequence[Prepared]) -> list[Inspection]:
        """Inspect prepared pictures, in their order; those of one engine and size go through it together."""
        groups: dict[tuple[Engine, tuple[int, int]], list[int]] = {}
        for index, one in enumerate(batch):
            groups.setdefault((self.engine(one.product), one.size), []).append(index)
        done: dict[int, Inspection] = {}
        for indices in groups.values():
            for first in range(0, len(indices), self.config.detector.max_batch):
                chosen = indices[first : first + self.config.detector.max_batch]
                done.update(zip(chosen, self._together([batch[index] for index in chosen]), strict=True))
        return [done[index] for index in range(len(batch))]

    def _together(self, batch: Sequence[Prepared]) -> list[Inspection]:
        """Inspect pictures of one model and size."""
        return [self.end(one, seen) for one, seen in zip(batch, self.look(batch), strict=True)]

    def look(self, batch: Sequence[Prepared]) -> Sequence[Seen | Tiled]:
        """Run the network over pictures of one model and size, large ones tile by tile; one thread at a time.

        Raises `EngineFailed`.
        """
        if batch[0].large is None:
            return self.infer(batch)
        return [
            look_large(
                one, self.infer, self.end_seen, one.zoom.tiles(self.config.detector), self.config.product(one.product)
            )
            for one in batch
        ]

    def end(self, one: Prepared, seen: Seen | Tiled) -> Inspection:
        """Turn what the network saw into measures and a verdict; any thread."""
        if isinstance(seen, Tiled):
            said = conclude_large(one, seen, self.config.product(one.product), self._judged)
        else:
            said = self.end_seen(one, seen)
        if said.registration is None or one.zoom == SAME_SCALE:
            return said
        return replace(said, registration=mapped(said.registration, one.zoom.matrix))  # from the template as it is

    def end_seen(self, one: Prepared, seen: Seen) -> Inspection:
        """Judge a picture, or a tile of one."""
        return self.conclude(one, seen.raw, seen.infer_us, seen.model)

    def infer(self, batch: Sequence[Prepared]) -> list[Seen]:
        """Run the network over pictures of one model and size, none large; one thread at a time.

        Raises `EngineFailed`.
        """
        engine = self.engine(batch[0].product)
        began = time.perf_counter_ns()
        shown = [one.zoom.seen(one.inputs.channels) for one in batch]
        raws = engine.infer(shown)
        share = us_since(began) // len(batch)
        return [
            Seen(one.zoom.found(raw, seen, one.inputs.channels), engine.ref, share)
            for one, raw, seen in zip(batch, raws, shown, strict=True)
        ]

    def _judged(self, one: Prepared, detections: Sequence[Detection]) -> Judgement:
        """Judge as a whole what was found in a large picture's tiles."""
        height, width = one.size
        found = [
            Finding(each.label, each.score, Roi(*decode_roi(each.mask)), each.raw_score, one.origin)
            for each in detections
        ]
        product = one.zoom.product(self.config.product(one.product))
        return judge(found, product, scale=one.scale, height=height, width=width, doubts=one.doubts)

    def conclude(
        self, one: Prepared, raw: RawDetections, infer_us: int = 0, model: ModelRef | None = None
    ) -> Inspection:
        """Judge what `model` (None: the one at work now) found in one picture; any thread."""
        began, engine = time.perf_counter_ns(), self.engine(one.product)
        ref = model or engine.ref
        product = shifted(self.rules(one.product, one.template_sha256, one.zoom), *one.template_origin)
        height, width = one.size
        scores = replace(self.scores(one.product, ref), product=product)
        told = reported(raw, engine.spec, scores, one.size, one.inputs.pair)
        found = [replace(each, origin=one.origin) for each in told]
        found = within(found, product, one.inputs.registration, height, width)
        doubts = (*one.doubts, *self._strays(one, found, product))
        whole, registration = one.whole, one.inputs.registration
        found = [each.moved(*whole.at) for each in found]
        said = judge(found, product, scale=one.scale, height=whole.size[0], width=whole.size[1], doubts=doubts)
        return Inspection(
            verdict=said.verdict,
            reasons=said.reasons,
            doubts=said.doubts,
            detections=said.detections,
            layers=said.layers,
            model=msgspec.structs.replace(ref, calibration_sha256=scores.sha256),
            registration=None if registration is None else registration_on(registration, whole.at, whole.at),
            timings_us={**one.timings_us, "infer": infer_us, "judge": us_since(began)},
        )

    def _strays(self, one: Prepared, found: Sequence[Finding], product: ProductConfig) -> tuple[Reason, ...]:
        """Say what differs from the template and was not found; nothing where the picture cannot be judged anyway.

        `product`: the rules that the picture is judged by.
        """
        if one.inputs.registration is None or any(doubt.of_picture for doubt in named(one.doubts)):
            return ()
        x, y = one.template_origin
        matrix = matrix_of(one.inputs.registration) @ moved(-x, -y)
        tolerance = self.reference(one.product).tolerance(one.template_sha256, matrix @ one.zoom.matrix, one.size)
        return differences(one.inputs, found, product, tolerance, one.origin)


def _kept(picture: Picture, template: Picture | None) -> tuple[Picture, Picture | None]:
    """Return what tiles are cut from: compared with a template, a picture is seen in grey, a third of the memory."""
    return (picture, None) if template is None else (grey_of(picture), grey_of(template))
