"""A walk, shown: on the picture, and as a plot of each layer."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from known_bands import HEIGHT, WIDTH, arc, straight

from detector.folder import PictureReport
from detector.layers.walker import walk
from detector.masks import Roi, to_rle
from detector.steps import Inspection
from detector.walk_views import draw_walk, profile_plot, walk_of
from taktwatch.inspection import answer
from taktwatch.records import Detection, ModelRef, Verdict

SIZE = (HEIGHT, WIDTH)
BAND = arc(-60, 24, 500)
NOTCH = BAND.notch(-90, 60, 10)
STEEP = straight(0.0, 20.0, 80.0)
MODEL = ModelRef(name="m", model_id="m", weights_sha256="0", engine="e", precision="float32", device="cpu")


def test_the_picture_shows_faces_middle_and_what_is_eaten_where_they_are() -> None:
    drawn = draw_walk(np.zeros((*SIZE, 3), np.uint8), walk([BAND.roi], [NOTCH], 1.0, SIZE))
    red = (drawn[..., 0] > 200) & (drawn[..., 1] < 120)
    assert np.count_nonzero(red & NOTCH.mask) > 0.6 * NOTCH.area_px
    assert np.count_nonzero(red & (BAND.across > 2)) == 0
    shown = drawn.any(axis=2)
    assert np.count_nonzero(shown & (np.abs(BAND.across) > BAND.thickness / 2 + 3)) < 10
    on_face = np.abs(np.abs(BAND.across) - BAND.thickness / 2) < 0.5
    inner = np.abs(BAND.along) < 200
    assert np.count_nonzero(shown & on_face & inner) > 0.9 * np.count_nonzero(on_face & inner)


def test_a_steep_layer_is_drawn_upright() -> None:
    shown = draw_walk(np.zeros((*SIZE, 3), np.uint8), walk([STEEP.roi], [], 1.0, SIZE)).any(axis=2)
    assert np.count_nonzero(shown & (np.abs(STEEP.across) > 13)) == 0
    assert np.count_nonzero(shown) > 600


def test_the_plot_is_a_picture_of_its_own_and_says_in_words_what_it_shows() -> None:
    (layer,) = walk([BAND.roi], [NOTCH], 1.5, SIZE).layers
    root = ET.fromstring(profile_plot(layer, 1.5))  # noqa: S314 - what was just written
    words = " ".join(root.itertext())
    assert root.tag.endswith("svg")
    assert f"{layer.profile.thickness_um:.1f} um thick" in words
    assert all(part in words for part in ("copper left", "depth from the upper face", "along the layer, um"))
    points = [line.get("points", "").split() for line in root.iter() if line.tag.endswith("polyline")]
    assert len(points) == 4
    assert all(len(one) == layer.profile.length_px for one in points)


def test_inspect_writes_the_walk_beside_its_overlay(tmp_path: Path) -> None:
    def found(label: str, roi: Roi) -> Detection:
        box = tuple(float(end) for end in roi.box)
        return Detection(label=label, score=0.9, box_px=box, mask=to_rle(roi, *SIZE), area_px=roi.area_px, area_um2=1)

    detections = (found("copper_layer", BAND.roi), found("corrosion", NOTCH))
    walked = walk_of(detections, 1.5)
    assert walked.profiles == walk([BAND.roi], [NOTCH], 1.5, SIZE).profiles
    said = Inspection(Verdict.FAIL, (), (), detections, walked.profiles, MODEL, None, {})
    told = answer(PictureReport(Path("a.png"), np.zeros((*SIZE, 3), np.uint8), said), tmp_path, set(), 1.5)
    assert told.profiles == (str(tmp_path / "a-L1.svg"),)
    assert (tmp_path / "a-L1.svg").read_text(encoding="utf-8").startswith("<svg xmlns=")
    assert (tmp_path / "a.png").exists()
