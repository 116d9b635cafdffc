"""What no detection explains, or nobody can judge, goes to review by name; good boards pass."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.engines import RawDetections
from detector.inspect import Inspector
from detector.products.calibration import load_calibration
from detector.products.camera import Calibration, CharucoTarget
from detector.products.product import find_boards, make_product
from detector.spec import SPECS, ModelSpec
from detector.steps import Inspection
from taktwatch.config import ProductConfig, parse_config, with_folder
from taktwatch.errors import ConfigError
from taktwatch.pictures import decode, encode_png
from taktwatch.records import Doubt, ModelRef, Verdict
from taktwatch.simulator import board

NOW = datetime(2026, 3, 3, tzinfo=UTC)
SIZE = (320, 320)
LAYOUT, OTHER = 11, 12
CAMERA = Calibration(
    um_per_px_x=20.8,
    um_per_px_y=20.6,
    uncertainty_um_per_px_x=0.1,
    uncertainty_um_per_px_y=0.1,
    distortion=(0.0,) * 5,
    camera_matrix=(1.0,) * 9,
    distortion_px=0.0,
    reprojection_px=0.1,
    width=320,
    height=320,
    views=5,
    target=CharucoTarget(),
    calibrated_at=NOW - timedelta(days=10),
    expires_at=NOW + timedelta(days=10),
)


class Blind:
    """An engine that never finds anything: what is stopped is stopped by what good boards say."""

    spec: ModelSpec = SPECS["board-sim"]
    ref = ModelRef(name="m", model_id="m-1", weights_sha256="0" * 64, engine="none", precision="none", device="cpu")

    def infer(self, pictures: Sequence[np.ndarray]) -> list[RawDetections]:
        """Find nothing."""
        empty = np.zeros((0, 28, 28), np.float32)
        return [RawDetections(empty[:, 0, :4], np.zeros(0, np.int64), np.zeros(0, np.float32), empty) for _ in pictures]


def photographed(seed: int, layout: int = LAYOUT) -> np.ndarray:
    return board(layout, seed, size=SIZE, defects=()).picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("products")
    good = root / "good"
    good.mkdir()
    for seed in range(8):
        (good / f"{seed}.png").write_bytes(encode_png(photographed(seed)))
    make_product("p", find_boards(good), root, um_per_px=20.7, now=NOW, calibration=CAMERA)
    return root / "p"


def settings(place: Path, **more: object) -> ProductConfig:
    tables = {"products": {"p": {"model": "m", "um_per_px": 20.7, "classes": {"open": {}}} | more}}
    return with_folder("p", parse_config(tables, "test", {}).product("p"), place)


@pytest.fixture(scope="module")
def inspector(folder: Path) -> Inspector:
    config = parse_config({}, "test", {}).model_copy(update={"products": {"p": settings(folder)}})
    return Inspector(config, engines={"m": Blind()})


def inspected(inspector: Inspector, picture: np.ndarray, *, taken_at: datetime = NOW) -> Inspection:
    template = inspector.config.product("p").template
    assert template is not None
    body = template.read_bytes()
    sha256 = hashlib.sha256(body).hexdigest()
    golden = decode(body, name="template")
    prepared = inspector.prepare("p", picture, golden, template_sha256=sha256, taken_at=taken_at)
    return inspector.inspect_batch([prepared])[0]


def test_good_boards_pass_and_raise_no_doubt(inspector: Inspector) -> None:
    for seed in range(20, 28):
        said = inspected(inspector, photographed(seed))
        assert (said.verdict, said.reasons, said.doubts) == (Verdict.PASS, (), ())


def blurred(picture: np.ndarray) -> np.ndarray:
    soft = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 3)
    return np.clip(soft + np.random.default_rng(1).normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def dazzled(picture: np.ndarray) -> np.ndarray:
    spot = picture.copy()
    cv2.circle(spot, (200, 120), 60, (255, 255, 255), -1)
    return spot


def haired(picture: np.ndarray) -> np.ndarray:
    hair = picture.copy()
    cv2.line(hair, (60, 80), (130, 230), (250, 250, 240), 6)
    return hair


def turned(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture[::-1, ::-1])


@pytest.mark.parametrize(
    ("spoil", "doubt", "words"),
    [
        (blurred, Doubt.FOCUS, "out of focus"),
        (lambda picture: (picture * 0.5).astype(np.uint8), Doubt.LIGHT, "too dark"),
        (dazzled, Doubt.SATURATION, "over-exposed"),
        (turned, Doubt.TURNED, "turned"),
        (lambda _: photographed(1, OTHER), Doubt.WRONG_PRODUCT, "wrong product"),
        (haired, Doubt.UNEXPLAINED, "unexplained: differs from the template at"),
    ],
)
def test_what_nobody_can_judge_goes_to_review_by_name(inspector: Inspector, spoil, doubt: Doubt, words: str) -> None:  # noqa: ANN001 - any change of a picture
    said = inspected(inspector, spoil(photographed(30)))
    assert said.verdict is Verdict.REVIEW
    assert doubt in said.doubts
    assert any(reason.startswith(words) for reason in said.reasons)


def test_a_picture_taken_after_the_calibration_ran_out_is_for_review(inspector: Inspector) -> None:
    late = inspected(inspector, photographed(31), taken_at=CAMERA.expires_at)
    assert (late.verdict, late.doubts) == (Verdict.REVIEW, (Doubt.CALIBRATION,))
    assert late.reasons == ("calibration: out of date since 2026-03-13; calibrate again",)


def test_the_calibrated_scale_goes_before_the_frames(inspector: Inspector) -> None:
    prepared = inspector.prepare("p", photographed(32), photographed(33), um_per_px=20.7)
    assert (prepared.scale.x, prepared.scale.y) == (20.8, 20.6)
    assert prepared.scale.unsure_share == pytest.approx(0.1 / 20.6)


def test_pictures_compared_with_another_template_are_not_held_against_these_good_boards(inspector: Inspector) -> None:
    dark = (photographed(34) * 0.5).astype(np.uint8)
    assert Doubt.LIGHT not in {one.doubt for one in inspector.prepare("p", dark, dark).doubts}


def test_a_folder_that_is_not_what_line_toml_says_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"products\.p\.folder: .*product\.json cannot be read"):
        settings(tmp_path)
    with pytest.raises(ConfigError, match=r"products\.p\.card_sha256 is abc.*another version"):
        settings(folder, folder=str(folder), card_sha256="abc")
    with pytest.raises(ConfigError, match="folder brings its own template"):
        settings(folder, folder=str(folder), template="other.png")
    config = parse_config({}, "test", {}).model_copy(update={"products": {"p": settings(folder, um_per_px=15)}})
    with pytest.raises(ConfigError, match=r"products\.p\.um_per_px is 15, .* was made at 20\.7"):
        Inspector(config).reference("p")


def test_settings_name_the_version_of_the_product_they_depend_on(folder: Path, tmp_path: Path) -> None:
    config = parse_config({}, "test", {})
    bare = parse_config({"products": {"p": {"model": "m", "um_per_px": 20.7, "classes": {"open": {}}}}}, "test", {})
    one = config.model_copy(update={"products": {"p": settings(folder)}})
    card = tmp_path / "product.json"
    card.write_bytes((folder / "product.json").read_bytes().replace(b'"version": 1', b'"version": 2'))
    two = config.model_copy(update={"products": {"p": with_folder("p", bare.product("p"), tmp_path)}})
    assert len({config.product_sha256("p") for config in (bare, one, two)}) == 3


def test_sections_have_a_folder_without_a_template(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / f"{seed}.png").write_bytes(encode_png(photographed(seed, layout=40 + seed)))
    card = make_product("s", find_boards(tmp_path), tmp_path / "out", um_per_px=1.5, now=NOW, view="section")
    assert (card.template_sha256, card.camera, card.roi) == (None, None, ())
    assert sorted(path.name for path in (tmp_path / "out" / "s").iterdir()) == ["product.json"]


def test_a_calibration_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="calibrate with"):
        load_calibration(tmp_path / "none.json", NOW)
