"""Product rules over what the network found: detections worth reporting, and a verdict with reasons in words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.engines import RawDetections
from detector.evaluate import box_iou
from detector.masks import Roi, grow_box, roi_mask, to_rle
from detector.regions import inspected_area, share_inside
from detector.registration import matrix_of
from detector.spec import ModelSpec
from detector.walker import Walk, walk
from taktwatch.config import ProductConfig
from taktwatch.records import Detection, LayerProfile, Registration, Verdict, defect_words

__all__ = ["LAYER", "Finding", "Judgement", "findings", "judge", "within"]

LAYER = "copper_layer"
"""The class of section models that is no defect but what defects sit in."""

MOSTLY = 0.5
"""A finding counts where at least this share of it lies in the inspected area."""

SAME_PLACE_IOU = 0.6
"""Two boxes that overlap so much are one defect: the better score names it."""


@dataclass(frozen=True, eq=False, slots=True)
class Finding:
    """One thing found that passes the product's thresholds, its mask still a ROI."""

    label: str
    score: float
    roi: Roi

    origin: tuple[int, int] = (0, 0)
    """Where the picture's upper left pixel lies on a larger one: words give places on that."""

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
    detections: tuple[Detection, ...]
    layers: tuple[LayerProfile, ...]


def findings(raw: RawDetections, spec: ModelSpec, product: ProductConfig, height: int, width: int) -> list[Finding]:
    """Return what passes the product's thresholds, best score first; classes the product does not list are left out."""
    kept: list[Finding] = []
    for box, label_index, score, mask in zip(raw.boxes, raw.labels, raw.scores, raw.masks, strict=True):
        label = spec.label(int(label_index))
        limits = product.classes.get(label)
        if limits is None or score < limits.score:
            continue
        roi = roi_mask(mask, box, height, width)
        if roi.area_px >= limits.min_area_px:
            kept.append(Finding(label, float(score), roi))
    return _once(sorted(kept, key=lambda finding: -finding.score))


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
    um_per_px: float,
    height: int,
    width: int,
    registration: Registration | None = None,
) -> Judgement:
    """Judge one picture of `height` x `width` px by its product's rules.

    A sure defect fails the board, one scored below `review_below` sends it to review; so does a template that does not
    fit the picture, whatever was found.
    """
    detections = tuple(_detection(finding, product, um_per_px, height, width) for finding in found)
    if product.view == "section":
        verdict, reasons, layers = _section(found, product, um_per_px)
    else:
        verdict, reasons = _defects(found, product)
        layers = ()
    if registration is not None and registration.quality < product.min_registration:
        least = product.min_registration
        misfit = f"the template does not fit: correlation {registration.quality:.2f}, at least {least:.2f}"
        verdict, reasons = Verdict.REVIEW, (misfit, *reasons)
    return Judgement(verdict, reasons, detections, layers)


def _defects(found: Sequence[Finding], product: ProductConfig) -> tuple[Verdict, tuple[str, ...]]:
    """Judge defects by their scores alone."""
    reasons = tuple(finding.words for finding in found)
    if not found:
        return Verdict.PASS, ()
    sure = any(finding.score >= product.review_below for finding in found)
    return (Verdict.FAIL if sure else Verdict.REVIEW), reasons


def _section(
    found: Sequence[Finding], product: ProductConfig, um_per_px: float
) -> tuple[Verdict, tuple[str, ...], tuple[LayerProfile, ...]]:
    """Judge layer profiles by the product's limits."""
    layers = [finding.roi for finding in found if finding.label == LAYER]
    sites = [finding for finding in found if finding.label != LAYER]
    walked = walk(layers, [site.roi for site in sites], um_per_px)
    failed = [reason for profile in walked.profiles for reason in _over_limits(profile, product)]
    if failed:
        return Verdict.FAIL, tuple(failed), walked.profiles
    doubts = _doubts(sites, walked, product)
    return (Verdict.REVIEW if doubts else Verdict.PASS), tuple(doubts), walked.profiles


def _over_limits(profile: LayerProfile, product: ProductConfig) -> list[str]:
    """Say which limits a layer exceeds."""
    limits = product.section
    reasons = []
    if profile.corroded_area_share > limits.max_corroded_area_share:
        reasons.append(
            f"{profile.layer}: {profile.corroded_area_share:.1%} of the area corroded, "
            f"at most {limits.max_corroded_area_share:.1%}"
        )
    depth_share = profile.deepest_um / profile.thickness_um if profile.thickness_um else 0.0
    if depth_share > limits.max_depth_share:
        reasons.append(
            f"{profile.layer}: corroded {profile.deepest_um:.1f} um deep, {depth_share:.0%} of its thickness, "
            f"at most {limits.max_depth_share:.0%}"
        )
    if profile.surface and not limits.allow_surface:
        reasons.append(f"{profile.layer}: corrosion breaks through the surface")
    return reasons


def _doubts(sites: Sequence[Finding], walked: Walk, product: ProductConfig) -> list[str]:
    """Say what keeps a section within its limits from passing."""
    doubts = [] if walked.profiles else ["no copper layer found"]
    doubts += [f"{sites[index].words}, lies in no layer" for index in walked.strays]
    doubts += [f"{site.words}, is unsure" for site in sites if site.score < product.review_below]
    return doubts


def _once(found: Sequence[Finding]) -> list[Finding]:
    """Keep the best of defects at one place; layers and what lies in them are different things."""
    kept: list[Finding] = []
    for finding in found:
        same = [other for other in kept if (other.label == LAYER) == (finding.label == LAYER)]
        boxes = np.array([other.roi.box for other in same], np.float64).reshape(-1, 4)
        own = np.array([finding.roi.box], np.float64)
        if not same or box_iou(own, boxes).max() < SAME_PLACE_IOU:
            kept.append(finding)
    return kept


def _detection(finding: Finding, product: ProductConfig, um_per_px: float, height: int, width: int) -> Detection:
    """Return the record of a finding."""
    area = finding.roi.area_px
    return Detection(
        label=finding.label,
        score=finding.score,
        box_px=grow_box(finding.roi.box, product.box_margin_um / um_per_px, height, width),
        mask=to_rle(finding.roi, height, width),
        area_px=area,
        area_um2=round(area * um_per_px**2),
    )
