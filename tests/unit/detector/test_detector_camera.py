"""A calibration finds a camera's scale and distortion from pictures whose truth is known, and goes out of date."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.products.calibration import calibrate_pictures, load_calibration, save_calibration
from detector.products.camera import CharucoTarget, draw_target, find_view
from taktwatch.errors import BadInput, ConfigError
from taktwatch.pictures import encode_png

TARGET = CharucoTarget(columns=11, rows=8, square_mm=1.0)
SIZE = (640, 800)
NOW = datetime(2026, 3, 3, 6, tzinfo=UTC)
UM_X, UM_Y = 20.8, 20.4
DRAWN = 60  # px per square of the drawing


def photographed(seed: int, *, bend: float = 0.0) -> np.ndarray:
    """Photograph the board, shifted and turned; the lens moves the picture's edge by `bend` of its radius."""
    rng = np.random.default_rng(seed)
    drawing = draw_target(TARGET, DRAWN)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float64)
    middle = ((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2)
    u, v = x - middle[0], y - middle[1]
    squared = (u * u + v * v) / middle[0] ** 2
    u, v = u * (1 + bend * squared), v * (1 + bend * squared)  # from the picture to where the lens looks
    turn = np.radians(rng.uniform(-8, 8))
    mm_x, mm_y = u * UM_X / 1000, v * UM_Y / 1000
    per_mm = DRAWN / TARGET.square_mm
    shift = rng.uniform(-0.8, 0.8, 2)
    board_x = (np.cos(turn) * mm_x - np.sin(turn) * mm_y + shift[0]) * per_mm + (drawing.shape[1] - 1) / 2
    board_y = (np.sin(turn) * mm_x + np.cos(turn) * mm_y + shift[1]) * per_mm + (drawing.shape[0] - 1) / 2
    soft = cv2.GaussianBlur(drawing, (0, 0), 1.2)
    seen = cv2.remap(soft, board_x.astype(np.float32), board_y.astype(np.float32), cv2.INTER_LINEAR, borderValue=255)
    grey = np.clip(30 + 0.75 * seen + rng.normal(0, 3, SIZE), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def written(folder: Path, count: int = 5, **how: float) -> list[Path]:
    paths = [folder / f"view{index}.png" for index in range(count)]
    for index, path in enumerate(paths):
        path.write_bytes(encode_png(photographed(index, **how)))
    return paths


def test_the_scale_is_found_in_x_and_in_y_within_its_uncertainty(tmp_path: Path) -> None:
    found = calibrate_pictures(written(tmp_path), TARGET, now=NOW, valid=timedelta(days=180))
    assert abs(found.um_per_px_x - UM_X) < found.uncertainty_um_per_px_x < 0.1
    assert abs(found.um_per_px_y - UM_Y) < found.uncertainty_um_per_px_y < 0.1
    assert found.reprojection_px < 0.2
    assert found.distortion_px < 1.5
    assert found.views == 5


@pytest.mark.parametrize("bend", [-0.01, 0.02])
def test_a_bent_lens_is_measured_and_does_not_spoil_the_scale(bend: float, tmp_path: Path) -> None:
    found = calibrate_pictures(written(tmp_path, bend=bend), TARGET, now=NOW, valid=timedelta(days=180))
    corner = np.hypot(SIZE[0] / 2, SIZE[1] / 2)
    moved = abs(bend) * corner * (corner / (SIZE[1] / 2)) ** 2
    assert abs(found.distortion_px - moved) < 0.15 * moved
    assert abs(found.um_per_px_x - UM_X) < 0.003 * UM_X
    assert abs(found.um_per_px_y - UM_Y) < 0.003 * UM_Y
    assert found.reprojection_px < 0.3


def test_a_worse_print_makes_the_scale_less_sure(tmp_path: Path) -> None:
    files = written(tmp_path, 3)
    worse = CharucoTarget(columns=11, rows=8, square_mm=1.0, error_share=0.01)
    fine, rough = (calibrate_pictures(files, one, now=NOW, valid=timedelta(1)) for one in (TARGET, worse))
    assert rough.uncertainty_um_per_px_x > 2 * fine.uncertainty_um_per_px_x


def test_a_picture_without_the_board_is_refused_by_name(tmp_path: Path) -> None:
    files = written(tmp_path, 3)
    files[1].write_bytes(encode_png(np.full((*SIZE, 3), 180, np.uint8)))
    with pytest.raises(BadInput, match=r"view1\.png: 0 corners of the 11x8 board"):
        calibrate_pictures(files, TARGET, now=NOW, valid=timedelta(1))


def test_too_few_pictures_none_and_pictures_of_two_sizes_are_refused(tmp_path: Path) -> None:
    files = written(tmp_path, 3)
    with pytest.raises(BadInput, match="2 pictures of the board, at least 3"):
        calibrate_pictures(files[:2], TARGET, now=NOW, valid=timedelta(1))
    with pytest.raises(BadInput, match="no picture of the calibration board"):
        calibrate_pictures([], TARGET, now=NOW, valid=timedelta(1))
    files[2].write_bytes(encode_png(photographed(2)[:600]))
    with pytest.raises(BadInput, match=r"view2\.png is 800x600 px"):
        calibrate_pictures(files, TARGET, now=NOW, valid=timedelta(1))


def test_a_crumpled_board_is_refused(tmp_path: Path) -> None:
    files = written(tmp_path, 3)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    waves = cv2.remap(photographed(1), x + 6 * np.sin(y / 60), y, cv2.INTER_LINEAR, borderValue=(255, 255, 255))
    files[1].write_bytes(encode_png(np.asarray(waves, np.uint8)))
    with pytest.raises(BadInput, match="is the board flat"):
        calibrate_pictures(files, TARGET, now=NOW, valid=timedelta(1))


def test_a_calibration_out_of_date_is_refused_and_one_in_date_comes_back(tmp_path: Path) -> None:
    made = calibrate_pictures(written(tmp_path, 3), TARGET, now=NOW, valid=timedelta(days=180))
    path = tmp_path / "calibration.json"
    save_calibration(made, path)
    assert load_calibration(path, NOW + timedelta(days=179)) == made
    with pytest.raises(ConfigError, match=r"of 2026-03-03 is out of date since 2026-08-30"):
        load_calibration(path, NOW + timedelta(days=180))


def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_calibration(path, NOW)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="is no calibration"):
        load_calibration(path, NOW)


def test_the_board_as_drawn_is_found_whole() -> None:
    view = find_view(draw_target(TARGET, 50), TARGET, "the drawing")
    assert len(view.picture) == 10 * 7
