"""calibration.json: written once a camera is calibrated, refused when out of date."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import msgspec
import numpy as np

from detector.products.camera import Calibration, CharucoTarget, View, calibrate_camera, draw_target, find_view
from taktwatch.errors import BadInput, ConfigError
from taktwatch.pictures import decode, encode_png

__all__ = ["calibrate_pictures", "load_calibration", "print_target", "save_calibration"]


def calibrate_pictures(files: Sequence[Path], target: CharucoTarget, *, now: datetime, valid: timedelta) -> Calibration:
    """Calibrate a camera by pictures of one board. Raises `BadInput` naming the picture that cannot be used."""
    if not files:
        raise BadInput("no picture of the calibration board; name some, or draw the board with --print")
    views: list[View] = []
    sources: list[tuple[str, str]] = []
    size = (0, 0)
    for path in files:
        try:
            body = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}") from error
        grey = np.asarray(cv2.cvtColor(decode(body, name=str(path)), cv2.COLOR_RGB2GRAY), np.uint8)
        if views and grey.shape != size:
            raise BadInput(
                f"{path} is {grey.shape[1]}x{grey.shape[0]} px, {files[0]} {size[1]}x{size[0]}; "
                "take all with the same camera settings"
            )
        size = (grey.shape[0], grey.shape[1])
        views.append(find_view(grey, target, str(path)))
        sources.append((path.name, hashlib.sha256(body).hexdigest()))
    return calibrate_camera(views, size, target, now=now, expires=now + valid, sources=sources)


def print_target(target: CharucoTarget, path: Path) -> None:
    """Draw a board to a PNG file. Raises `BadInput` where it cannot be written."""
    try:
        path.write_bytes(encode_png(np.repeat(draw_target(target)[..., None], 3, axis=2)))
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from error


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration; an earlier one is replaced at once."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n")
    fresh.replace(path)


def load_calibration(path: Path, now: datetime) -> Calibration:
    """Read a calibration. Raises `ConfigError` for one that is missing, damaged, or out of date."""
    try:
        calibration = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; calibrate with `taktwatch calibrate`") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is no calibration: {error}; calibrate with `taktwatch calibrate`") from error
    if now >= calibration.expires_at:
        raise ConfigError(
            f"the calibration {path} of {calibration.calibrated_at:%Y-%m-%d} is out of date since "
            f"{calibration.expires_at:%Y-%m-%d}; calibrate again with `taktwatch calibrate`"
        )
    return calibration
