"""Shows every picture of a data set to a model, on the way that the line's pictures go."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from detector.engines import RawDetections
from detector.evaluation.labelled import Dataset, Item, Labelled
from detector.evaluation.outcomes import Found, Outcome, TrueDefect
from detector.evidence import reported, shown
from detector.inspect import Inspector
from detector.judge import Finding, judge, passing
from detector.masks import Roi, grow_box, to_rle
from detector.proving.choose import build_engine, known_engine, open_engine
from detector.registry import LoadedModel, load_model
from detector.scores import Scores, open_scores
from detector.steps import Prepared
from taktwatch.config import LineConfig, ProductConfig
from taktwatch.errors import BadInput, ConfigError
from taktwatch.records import ModelRef
from taktwatch.rle import bbox, decode

__all__ = ["Runner", "choose_product", "model_folder", "with_engine"]

FLOOR = 1e-6
"""Lowest score that is looked at here; the network's own floor (`score_floor` of its spec) lies above it."""


def model_folder(config: LineConfig, model: str) -> Path:
    """Return a model's folder: a path, or a name in the line's models folder."""
    path = Path(model)
    return path if path.is_dir() else config.detector.models_dir / model


def choose_product(config: LineConfig, dataset: Dataset, name: str | None) -> str:
    """Return the product by whose rules a set is judged: that named, or `deeppcb` for its format, or the first fitting.

    Raises `UnknownProduct`, `ConfigError` where none or one of another view is described.
    """
    if name is None and dataset.kind == "deeppcb" and "deeppcb" in config.products:
        name = "deeppcb"
    if name is None:
        name = next((key for key, product in config.products.items() if product.view == dataset.view), None)
    if name is None:
        raise ConfigError(f"no product of the {dataset.view} view is described; {dataset.name} shows such pictures")
    product = config.product(name)
    if product.view != dataset.view:
        raise ConfigError(f"product {name!r} is a {product.view} view, {dataset.name} shows {dataset.view} views")
    return name


def with_engine(config: LineConfig, engine: str) -> LineConfig:
    """Return the line with another engine. Raises `ConfigError` for one that is not known."""
    if engine != "auto":
        known_engine(engine)
    return config.model_copy(update={"detector": config.detector.model_copy(update={"engine": engine})})


@dataclass(eq=False)
class Runner:
    """One model judged by one product's rules. Raises `ModelError`, `ConfigError` when made."""

    config: LineConfig
    model_path: Path
    product_name: str

    def __post_init__(self) -> None:
        """Load the model."""
        settings = self.config.detector
        self.model: LoadedModel = load_model(self.model_path)
        name = settings.engine  # one that is named is measured, proven or not
        engine = open_engine(self.model, settings) if name == "auto" else build_engine(self.model, name, settings)
        own = self.config.product(self.product_name)  # the model is measured, not its screen
        self.product = own.model_copy(update={"model": self.model.card.name, "screen": "off"})
        products = {self.product_name: self.product}
        config = self.config.model_copy(update={"products": products, "stations": ()})
        self.inspector = Inspector(config, engines={self.model.card.name: engine})
        self.engine = self.inspector.engine(self.product_name)
        self.scores = open_scores(self.model_path, self.engine.ref, self.product_name, self.product)
        self.inspector.known_scores[self.product_name, self.engine.ref] = self.scores
        self.everything = Scores(lowered(self.product))
        self.exact = self.product.model_copy(update={"unsure_px": 0.0})

    @property
    def ref(self) -> ModelRef:
        """How results name the model, what it runs on, and what its scores are worth."""
        return msgspec.structs.replace(self.engine.ref, calibration_sha256=self.scores.sha256)

    def check(self, dataset: Dataset) -> None:
        """Refuse a set with classes that the product or the model does not know. Raises `BadInput`."""
        known = [label for label in self.model.spec.classes if label in self.product.classes]
        if strangers := [label for label in dataset.labels if label not in known]:
            raise BadInput(
                f"{dataset.name}: unknown class {strangers[0]!r}; product {self.product_name!r} with model "
                f"{self.model.card.name!r} knows {', '.join(known)}"
            )

    def run(self, dataset: Dataset, on_picture: Callable[[], None] = lambda: None) -> Iterator[Outcome]:
        """Inspect one picture after the other. Raises `BadInput` naming a picture that cannot be used."""
        self.check(dataset)
        for item in dataset.items:
            yield self.inspect(item)
            on_picture()

    def inspect(self, item: Item, labelled: Labelled | None = None) -> Outcome:
        """Inspect one picture (loaded here unless it is given) at the lowest threshold, and judge it at the product's.

        Scores are the network's own.
        """
        labelled = item.load() if labelled is None else labelled
        prepared = self.prepared(item, labelled)
        return self.outcome(item, labelled, prepared, self.engine.infer([prepared.inputs.channels])[0])

    def prepared(self, item: Item, labelled: Labelled) -> Prepared:
        """Return a picture as the network sees it. Raises `BadInput` naming one that cannot be used."""
        try:
            return self.inspector.prepare(self.product_name, labelled.picture, labelled.template)
        except BadInput as error:
            raise BadInput(f"{item.name}: {error}") from error

    def outcome(self, item: Item, labelled: Labelled, prepared: Prepared, raw: RawDetections) -> Outcome:
        """Hold what a network found in a picture against its truth.

        What is reported has one name at a place; what is ranked has all that the network gave, as published rules do.
        """
        whole, (height, width) = prepared.whole, prepared.whole.size
        pair, least = prepared.inputs.pair, self.product.min_shown_px
        known = [one.moved(*whole.at) for one in reported(raw, self.model.spec, self.scores, prepared.size, pair)]
        passed = shown(passing(raw, self.model.spec, self.everything, *prepared.size), pair, least)
        everything = [one.moved(*whole.at) for one in passed]
        said = self.inspector.conclude(prepared, raw)
        told_truth = [told(one) for one in labelled.truths]
        truth = judge(told_truth, self.exact, scale=prepared.scale, height=height, width=width)
        return Outcome(
            name=item.name,
            board=item.board,
            size=(height, width),
            um_per_px=prepared.um_per_px,
            truths=labelled.truths,
            found=self._found(everything, known, height, width),
            defective=truth.verdict != "pass",
            verdict=said.verdict,
            doubts=tuple(str(doubt) for doubt in said.doubts),
        )

    def _found(self, lowest: list[Finding], known: list[Finding], height: int, width: int) -> tuple[Found, ...]:
        """Return everything found, marked where the product's thresholds let it through."""
        passed, seen = {_key(one) for one in known}, {_key(one) for one in lowest}
        everything = [*lowest, *(one for one in known if _key(one) not in seen)]
        margin = self.product.box_margin_um / self.product.um_per_px
        tight = self.model.spec.target_margin_px is not None
        return tuple(
            Found(
                label=one.label,
                score=one.score if one.raw is None else one.raw,
                box_px=grow_box(one.roi.box, margin, height, width) if tight or one.box is None else one.box,
                mask=to_rle(one.roi, height, width),
                area_px=one.roi.area_px,
                reported=_key(one) in passed,
            )
            for one in everything
        )


def lowered(product: ProductConfig) -> ProductConfig:
    """Return the product with score thresholds that let everything through."""
    classes = {label: limits.model_copy(update={"score": FLOOR}) for label, limits in product.classes.items()}
    return product.model_copy(update={"classes": classes})


def told(truth: TrueDefect) -> Finding:
    """Return a truth as a finding that is sure."""
    x0, y0, x1, y1 = bbox(truth.mask)
    mask = np.ascontiguousarray(decode(truth.mask)[y0:y1, x0:x1])
    return Finding(truth.label, 1.0, Roi(mask, x0, y0))


def _key(one: Finding) -> tuple[str, float, tuple[int, int, int, int]]:
    """Tell findings of one picture apart."""
    return one.label, one.score if one.raw is None else one.raw, one.roi.box
