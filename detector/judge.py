"""Product rules over what the network found: detections worth reporting, and a verdict with reasons in words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from detector.aligning.regions import inspected_area, share_inside
from detector.aligning.registration import matrix_of
from detector.doubts import Reason, named
from detector.engines import RawDetections
from detector.evaluate import box_iou
from detector.layers.walker import Walk, walk
from detector.limits import judged_layer
from detector.masks import Roi, grow_box, roi_mask, to_rle
from detector.scale import Scale
from detector.scores import Scores
from detector.spec import ModelSpec
from taktwatch.config import ProductConfig
from taktwatch.records import Detection, Doubt, LayerProfile, Registration, Verdict, defect_words

__all__ = ["LAYER", "Finding", "Judgement", "findings", "judge", "once", "passing", "ranked", "within"]

LAYER = "copper_layer"
"""The class of section models that is no defect but what defects sit in."""

MOSTLY = 0.5
"""A finding counts where at least this share of it lies in the inspected area."""

SAME_PLACE_IOU = 0.6
"""Two boxes that overlap so much are one defect: the better score names it."""


@dataclass(frozen=True, eq=False, slots=True)
class Finding:
    """One thing found that passes the product's thresholds, its mask still a ROI.

    `score` is the chance that it is there, as far as the model is calibrated; `raw` is what the network gave.
    """

    label: str
    score: float
    roi: Roi
    raw: float | None = None

    origin: tuple[int, int] = (0, 0)
    """Where the picture's upper left pixel lies on a larger one: words give places on that."""

    box: tuple[float, float, float, float] | None = None
    """The network's own, px; None where nothing but a mask is known. Results give the mask's box instead."""

    def moved(self, x: int, y: int) -> "Finding":
        """Return this in the px of a picture on which its own begins at (x, y)."""
        roi = Roi(self.roi.mask, self.roi.x0 + x, self.roi.y0 + y)
        box = None if self.box is None else (self.box[0] + x, self.box[1] + y, self.box[2] + x, self.box[3] + y)
        return replace(self, roi=roi, box=box, origin=(self.origin[0] - x, self.origin[1] - y))

    @property
    def unsure_px(self) -> float:
        """By how many px the area is off for each px that the mask's edge is off: the length of its box's edge."""
        x0, y0, x1, y1 = self.roi.box
        return 2.0 * (x1 - x0 + y1 - y0)

    @property
    def words(self) -> str:
        """Class, middle of the box, score: 'open at (120, 340), score 0.93'."""
        (x0, y0, x1, y1), (x, y) = self.roi.box, self.origin
        return defect_words(self.label, self.score, (x0 + x, y0 + y, x1 + x, y1 + y))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of one picture."""

    verdict: Verdict
    reasons: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    detections: tuple[Detection, ...]
    layers: tuple[LayerProfile, ...]


def findings(raw: RawDetections, spec: ModelSpec, scores: Scores, height: int, width: int) -> list[Finding]:
    """Return what passes the product's thresholds, ranked."""
    return ranked(passing(raw, spec, scores, height, width))


def ranked(found: Sequence[Finding]) -> list[Finding]:
    """Return findings best score first, at each place the best name alone."""
    return once(sorted(found, key=lambda one: (-one.score, -(one.raw or 0.0))))


def passing(raw: RawDetections, spec: ModelSpec, scores: Scores, height: int, width: int) -> list[Finding]:
    """Return all detections that pass the product's thresholds; classes the product does not list are left out.

    A defect smaller than its class's least area stays where the mask is too unsure to say so.
    """
    product = scores.product
    kept: list[Finding] = []
    for box, label_index, score, mask in zip(raw.boxes, raw.labels, raw.scores, raw.masks, strict=True):
        label = spec.label(int(label_index))
        limits = product.classes.get(label)
        if limits is None or score < scores.threshold(label):
            continue
        chance = scores.chance(label, float(score))
        x0, y0, x1, y1 = box.tolist()
        finding = Finding(label, chance, roi_mask(mask, box, height, width), float(score), box=(x0, y0, x1, y1))
        unsure = 0.0 if label == LAYER else product.unsure_px * finding.unsure_px
        if finding.roi.area_px + unsure >= limits.min_area_px:
            kept.append(finding)
    return kept


def within(
    found: Sequence[Finding], product: ProductConfig, registration: Registration | None, height: int, width: int
) -> list[Finding]:
    """Leave out what lies mostly outside the product's region of interest, or in a part that it ignores."""
    if product.roi is None and not product.ignore:
        return list(found)
    matrix = np.eye(3) if registration is None else matrix_of(registration)
    area = inspected_area((height, width), matrix, roi=product.roi, ignore=product.ignore)
    return [finding for finding in found if share_inside(finding.roi.mask, _under(finding.roi, area)) >= MOSTLY]


def _under(roi: Roi, area: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the part of a frame's mask that lies under a ROI."""
    height, width = roi.mask.shape
    return area[roi.y0 : roi.y0 + height, roi.x0 : roi.x0 + width]


def judge(
    found: Sequence[Finding],
    product: ProductConfig,
    *,
    scale: Scale,
    height: int,
    width: int,
    doubts: Sequence[Reason] = (),
) -> Judgement:
    """Judge one picture of `height` x `width` px by its product's rules.

    A sure defect fails the board, one scored below `review_below` sends it to review. `doubts` are what else is to be
    said of the picture: nothing unknown passes, and where the picture itself cannot be judged nothing fails either.
    """
    detections = tuple(_detection(finding, product, scale, height, width) for finding in found)
    layers: tuple[LayerProfile, ...] = ()
    if product.view == "section":
        told, layers = _section(found, product, scale, (height, width))
    else:
        told = [_defect(finding, product) for finding in found]
    reasons = (*doubts, *told)
    doubted = named(reasons)
    broken = any(reason.doubt is None for reason in reasons)
    if any(doubt.of_picture for doubt in doubted):
        verdict = Verdict.REVIEW
    elif broken:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.REVIEW if doubted else Verdict.PASS
    return Judgement(verdict, tuple(reason.words for reason in reasons), doubted, detections, layers)


def _defect(finding: Finding, product: ProductConfig) -> Reason:
    """Say of a defect what it is; and what keeps it from failing the board."""
    area, least = finding.roi.area_px, product.classes[finding.label].min_area_px
    if finding.score < product.review_below:
        return Reason(finding.words, Doubt.UNSURE)
    if area < least:
        return Reason(f"{finding.words}: {area} px, and from {least} px on a defect", Doubt.UNCERTAIN)
    return Reason(finding.words)


def _section(
    found: Sequence[Finding], product: ProductConfig, scale: Scale, size: tuple[int, int]
) -> tuple[list[Reason], tuple[LayerProfile, ...]]:
    """Judge layer profiles by the product's limits."""
    layers = [finding.roi for finding in found if finding.label == LAYER]
    sites = [finding for finding in found if finding.label != LAYER]
    walked = walk(layers, [site.roi for site in sites], scale.y, size)
    told = [reason for profile in walked.profiles for reason in judged_layer(profile, product, scale)]
    if any(reason.doubt is None for reason in told):
        return told, walked.profiles
    return [*told, *_open_questions(sites, walked, product)], walked.profiles


def _open_questions(sites: Sequence[Finding], walked: Walk, product: ProductConfig) -> list[Reason]:
    """Say what keeps a section within its limits from passing."""
    told = [] if walked.profiles else [Reason("no copper layer found", Doubt.NO_LAYER)]
    told += [Reason(f"{sites[index].words}, lies in no layer", Doubt.STRAY) for index in walked.strays]
    told += [Reason(f"{site.words}, is unsure", Doubt.UNSURE) for site in sites if site.score < product.review_below]
    return told


def once(found: Sequence[Finding]) -> list[Finding]:
    """Keep the first of defects at one place; layers and what lies in them are different things."""
    boxes = np.array([finding.roi.box for finding in found], np.float64).reshape(-1, 4)
    of_layer = np.array([finding.label == LAYER for finding in found], np.bool_)
    same = (box_iou(boxes, boxes) >= SAME_PLACE_IOU) & (of_layer[:, None] == of_layer)
    kept: list[int] = []
    for index in range(len(found)):
        if not same[index, kept].any():
            kept.append(index)
    return [found[index] for index in kept]


def _detection(finding: Finding, product: ProductConfig, scale: Scale, height: int, width: int) -> Detection:
    """Return the record of a finding."""
    area = finding.roi.area_px
    return Detection(
        label=finding.label,
        score=finding.score,
        raw_score=finding.raw,
        box_px=grow_box(finding.roi.box, product.box_margin_um / scale.mean, height, width),
        mask=to_rle(finding.roi, height, width),
        area_px=area,
        area_um2=scale.area_um2(area),
    )
