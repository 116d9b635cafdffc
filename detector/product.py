"""Product folders: products/NAME/{template.png, tolerance.png, product.json}, versioned, files named by their hash."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from detector.gates import Baseline
from detector.golden import MOST_BOARDS, build_golden
from taktwatch.errors import BadInput, ConfigError
from taktwatch.pictures import decode, encode_png

__all__ = ["Product", "ProductCard", "Source", "find_boards", "load_product", "make_product"]

Picture = npt.NDArray[np.uint8]

CARD, TEMPLATE, TOLERANCE = "product.json", "template.png", "tolerance.png"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Source(msgspec.Struct, frozen=True):
    """A good board a template was built from, and how well it fitted the others."""

    file: str
    sha256: str
    quality: float


class ProductCard(msgspec.Struct, frozen=True, kw_only=True):
    """What product.json holds. `roi`: corners (x, y) in template px of what all good boards show."""

    name: str
    version: int
    created_at: datetime
    um_per_px: float
    width: int
    height: int
    template_sha256: str
    tolerance_sha256: str
    roi: tuple[tuple[float, float], ...]
    baseline: Baseline
    sources: tuple[Source, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """A product as built: its card, template RGB (H, W, 3), and tolerance in grey levels (H, W)."""

    card: ProductCard
    template: Picture
    tolerance: npt.NDArray[np.uint8]


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


def make_product(name: str, boards: Sequence[Path], root: Path, *, um_per_px: float, now: datetime) -> ProductCard:
    """Build a template from pictures of good boards and write it to `root`/`name`; an earlier version is replaced.

    Raises `BadInput` naming the picture that cannot be used, `BadPicture`; nothing is written then.
    """
    if not NAME.fullmatch(name):
        raise BadInput(
            f"product name {name!r}: letters, digits, '.', '_' and '-' only, beginning with one of the first"
        )
    bodies = [path.read_bytes() for path in boards]
    pictures = [decode(body, name=str(path)) for body, path in zip(bodies, boards, strict=True)]
    golden = build_golden(pictures, [str(path) for path in boards])
    template = encode_png(golden.template)
    tolerance = encode_png(np.repeat(golden.tolerance[..., None], 3, axis=2))
    folder = root / name
    sources = tuple(
        Source(path.name, _sha256(body), round(quality, 4))
        for path, body, quality in zip(boards, bodies, golden.qualities, strict=True)
    )
    card = ProductCard(
        name=name,
        version=_last_version(folder) + 1,
        created_at=now,
        um_per_px=um_per_px,
        width=golden.template.shape[1],
        height=golden.template.shape[0],
        template_sha256=_sha256(template),
        tolerance_sha256=_sha256(tolerance),
        roi=golden.roi,
        baseline=golden.baseline,
        sources=sources,
    )
    folder.mkdir(parents=True, exist_ok=True)
    # The card last: it names the others by hash, so that a half-written product is refused, not used.
    text = msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
    for file, body in ((TEMPLATE, template), (TOLERANCE, tolerance), (CARD, text)):
        _write(folder / file, body)
    return card


def load_product(folder: Path) -> Product:
    """Read a product folder. Raises `ConfigError` naming a file that is missing or not what the card names."""
    card = _read_card(folder)
    template, tolerance = (_read(folder / file) for file in (TEMPLATE, TOLERANCE))
    for file, body, sha256 in (
        (TEMPLATE, template, card.template_sha256),
        (TOLERANCE, tolerance, card.tolerance_sha256),
    ):
        if _sha256(body) != sha256:
            raise ConfigError(
                f"{folder / file} is not the file that {CARD} names (sha256 {sha256[:12]}); "
                f"it was damaged or edited: build it again with `taktwatch product new {card.name}`"
            )
    pixels = decode(tolerance, name=str(folder / TOLERANCE))
    return Product(card, decode(template, name=str(folder / TEMPLATE)), np.ascontiguousarray(pixels[..., 0]))


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
