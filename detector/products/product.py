"""Product folders: products/NAME/{template.png, tolerance.png, product.json}, versioned, files named by their hash.

A view without a template has the card alone: how its pictures look, and what is known of its camera.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from detector.products.camera import Calibration
from detector.products.gates import Baseline
from detector.products.golden import MOST_BOARDS, build_golden, usual_look
from detector.scale import Scale
from taktwatch.errors import BadInput, ConfigError
from taktwatch.pictures import decode, encode_png

__all__ = ["Camera", "Product", "ProductCard", "Source", "find_boards", "load_product", "make_product"]

Picture = npt.NDArray[np.uint8]
View = Literal["board", "section"]

CARD, TEMPLATE, TOLERANCE = "product.json", "template.png", "tolerance.png"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Source(msgspec.Struct, frozen=True):
    """A good board a template was built from, and how well it fitted the others."""

    file: str
    sha256: str
    quality: float


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """What a product's card keeps of its camera's calibration; uncertainties hold for 95 % of cases."""

    um_per_px_x: float
    um_per_px_y: float
    uncertainty_um_per_px_x: float
    uncertainty_um_per_px_y: float
    calibrated_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, calibration: Calibration) -> "Camera":
        """Return what a product keeps of a calibration."""
        return cls(**{name: getattr(calibration, name) for name in cls.__struct_fields__})

    @property
    def scale(self) -> Scale:
        """How large a pixel is."""
        x, y = self.um_per_px_x, self.um_per_px_y
        return Scale(x, y, max(self.uncertainty_um_per_px_x / x, self.uncertainty_um_per_px_y / y))


class ProductCard(msgspec.Struct, frozen=True, kw_only=True):
    """What product.json holds. `roi`: corners (x, y) in template px of what all good boards show.

    `camera` is None where the scale was told, not measured; both hashes are None for a view without a template.
    """

    name: str
    version: int
    created_at: datetime
    um_per_px: float
    width: int
    height: int
    baseline: Baseline
    sources: tuple[Source, ...]
    template_sha256: str | None = None
    tolerance_sha256: str | None = None
    roi: tuple[tuple[float, float], ...] = ()
    camera: Camera | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """A product as built: its card, template RGB (H, W, 3), and tolerance in grey levels (H, W), where it has them."""

    card: ProductCard
    template: Picture | None = None
    tolerance: npt.NDArray[np.uint8] | None = None


def find_boards(folder: Path) -> list[Path]:
    """Return the pictures of a folder in name order. Raises `BadInput` where there is no folder, none, or too many."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder; give one with pictures of good boards")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInput(f"no picture in {folder}; put pictures of good boards there ({', '.join(sorted(SUFFIXES))})")
    if len(files) > MOST_BOARDS:
        raise BadInput(f"{len(files)} pictures in {folder}, at most {MOST_BOARDS}; choose good and typical ones")
    return files


def make_product(
    name: str,
    boards: Sequence[Path],
    root: Path,
    *,
    um_per_px: float,
    now: datetime,
    calibration: Calibration | None = None,
    view: View = "board",
) -> ProductCard:
    """Build a product from pictures of good boards and write it to `root`/`name`; an earlier version is replaced.

    Board views get a template; sections, each cut elsewhere, only how their pictures look. A `calibration` has the last
    word on the scale. Raises `BadInput` naming the picture that cannot be used, `BadPicture`; nothing is written then.
    """
    if not NAME.fullmatch(name):
        raise BadInput(
            f"product name {name!r}: letters, digits, '.', '_' and '-' only, beginning with one of the first"
        )
    bodies = [path.read_bytes() for path in boards]
    pictures = [decode(body, name=str(path)) for body, path in zip(bodies, boards, strict=True)]
    names = [str(path) for path in boards]
    files: dict[str, bytes] = {}
    if view == "board":
        golden = build_golden(pictures, names)
        files[TEMPLATE] = encode_png(golden.template)
        files[TOLERANCE] = encode_png(np.repeat(golden.tolerance[..., None], 3, axis=2))
        baseline, roi, qualities = golden.baseline, golden.roi, golden.qualities
    else:
        baseline, roi, qualities = usual_look(pictures, names), (), (1.0,) * len(pictures)
    folder = root / name
    height, width = pictures[0].shape[:2]
    card = ProductCard(
        name=name,
        version=_last_version(folder) + 1,
        created_at=now,
        um_per_px=um_per_px if calibration is None else calibration.um_per_px,
        width=width,
        height=height,
        baseline=baseline,
        sources=tuple(
            Source(path.name, _sha256(body), round(quality, 4))
            for path, body, quality in zip(boards, bodies, qualities, strict=True)
        ),
        template_sha256=_sha256(files[TEMPLATE]) if files else None,
        tolerance_sha256=_sha256(files[TOLERANCE]) if files else None,
        roi=roi,
        camera=None if calibration is None else Camera.of(calibration),
    )
    folder.mkdir(parents=True, exist_ok=True)
    # The card last: it names the others by hash, so that a half-written product is refused, not used.
    files[CARD] = msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
    for file, body in files.items():
        _write(folder / file, body)
    return card


def load_product(folder: Path) -> Product:
    """Read a product folder. Raises `ConfigError` naming a file that is missing or not what the card names."""
    card = _read_card(folder)
    template = _named(folder, TEMPLATE, card.template_sha256, card.name)
    tolerance = _named(folder, TOLERANCE, card.tolerance_sha256, card.name)
    return Product(card, template, None if tolerance is None else np.ascontiguousarray(tolerance[..., 0]))


def _named(folder: Path, file: str, sha256: str | None, name: str) -> Picture | None:
    """Return the picture that a card names by hash; None where it names none."""
    if sha256 is None:
        return None
    body = _read(folder / file)
    if _sha256(body) != sha256:
        raise ConfigError(
            f"{folder / file} is not the file that {CARD} names (sha256 {sha256[:12]}); "
            f"it was damaged or edited: build it again with `taktwatch product new {name}`"
        )
    return decode(body, name=str(folder / file))


def _read_card(folder: Path) -> ProductCard:
    try:
        return msgspec.json.decode(_read(folder / CARD), type=ProductCard)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{folder / CARD} is no product card: {error}; build the product again") from error


def _last_version(folder: Path) -> int:
    """Return the version that lies there; 0 where none does."""
    return _read_card(folder).version if (folder / CARD).exists() else 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; build the product with `taktwatch product new`"
        ) from error


def _write(path: Path, body: bytes) -> None:
    """Replace a file at once: readers see the old one or the new one."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(body)
    fresh.replace(path)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
