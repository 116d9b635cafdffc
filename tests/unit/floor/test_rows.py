"""Pictures read by rows are the pictures that decoding them whole gives."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from taktwatch.errors import BadInput, BadPicture
from taktwatch.pictures import decode
from taktwatch.rows import open_rows, pieces
from taktwatch.rows import png as png_module
from taktwatch.rows import tiff as tiff_module
from taktwatch.simulator import golden
from taktwatch.strips import cut

LIMITS = {"max_px": 10**9, "max_side": 20_000}
PICTURE = golden(5, size=(231, 157))
GREY = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY)
DEEP = (PICTURE.astype(np.uint16) << 8) + 77


def read(path: Path) -> np.ndarray:
    """Read a file by rows."""
    with open_rows(path, **LIMITS) as rows:
        found = np.concatenate(list(rows.bands))
        assert found.shape == ((rows.height, rows.width) if rows.channels == 1 else (rows.height, rows.width, 3))
    return found


def is_decoded(path: Path) -> None:
    """Compare with decoding the whole."""
    found, whole = read(path), decode(path.read_bytes())
    assert np.array_equal(found if found.ndim == 3 else np.repeat(found[..., None], 3, axis=2), whole)


@pytest.fixture
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of some twenty rows, so that small pictures have several."""
    monkeypatch.setattr(png_module, "BAND_BYTES", 9_000)
    monkeypatch.setattr(png_module, "READ_BYTES", 700)
    monkeypatch.setattr(tiff_module, "BAND_BYTES", 3_000)


def pngs() -> dict[str, bytes]:
    made = {}
    for name, image in {
        "RGB": Image.fromarray(PICTURE),
        "grey": Image.fromarray(GREY),
        "RGBA": Image.fromarray(np.dstack([PICTURE, GREY])),
        "grey and alpha": Image.merge("LA", [Image.fromarray(GREY)] * 2),
        "palette": Image.fromarray(PICTURE).quantize(200),
        "palette of 4 bits": Image.fromarray(PICTURE).quantize(11),
        "black and white": Image.fromarray(GREY).convert("1"),
        "grey of 16 bits": Image.fromarray(DEEP[..., 0]),
    }.items():
        body = io.BytesIO()
        image.save(body, "PNG")
        made[name] = body.getvalue()
    made["RGB of 16 bits"] = cv2.imencode(".png", DEEP)[1].tobytes()
    made["RGBA of 16 bits"] = cv2.imencode(".png", np.dstack([DEEP, DEEP[..., 0]]))[1].tobytes()
    return made


@pytest.mark.parametrize("kind", sorted(pngs()))
@pytest.mark.usefixtures("small_bands")
def test_a_png_by_rows_is_the_png(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(pngs()[kind])
    is_decoded(path)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1))
def test_whatever_filters_a_png_uses_row_by_row_they_are_undone(filters: list[int], channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width = int(rng.integers(1, 30))
    rows = rng.integers(0, 256, (len(filters), width * channels), dtype=np.uint8)
    data = b"".join(bytes([kind]) + row.tobytes() for kind, row in zip(filters, rows, strict=True))
    colour = {1: 0, 3: 2, 4: 6}[channels]
    ihdr = struct.pack(">IIBBBBB", width, len(filters), 8, colour, 0, 0, 0)
    chunk = png_module._chunk
    body = png_module.MAGIC + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    before = png_module.BAND_BYTES
    png_module.BAND_BYTES = 3 * (width * channels + 1)
    try:
        _, bands = png_module.png_bands(io.BytesIO(body))
        found = np.concatenate(list(bands))
    finally:
        png_module.BAND_BYTES = before
    whole = decode(body)
    assert np.array_equal(found if found.ndim == 3 else np.repeat(found[..., None], 3, axis=2), whole)


TIFFS = {
    "plain": {"rowsperstrip": 16},
    "one strip": {"rowsperstrip": 231},
    "big-endian": {"rowsperstrip": 50, "byteorder": ">"},
    "deflate": {"rowsperstrip": 16, "compression": "zlib", "predictor": True},
    "tiles": {"tile": (64, 48)},
}


@pytest.mark.parametrize("kind", sorted(TIFFS))
@pytest.mark.parametrize("pixels", [PICTURE, GREY, DEEP], ids=["RGB", "grey", "RGB of 16 bits"])
@pytest.mark.usefixtures("small_bands")
def test_a_tiff_by_rows_is_the_tiff(kind: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    photometric = "minisblack" if pixels.ndim == 2 else "rgb"
    tifffile.imwrite(path, pixels, photometric=photometric, **TIFFS[kind])
    is_decoded(path)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "group4"])
@pytest.mark.usefixtures("small_bands")
def test_a_tiff_as_other_programs_compress_it_by_rows_is_the_tiff(compression: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    image = Image.fromarray(GREY).convert("1") if compression == "group4" else Image.fromarray(PICTURE)
    image.save(path, compression=compression)
    is_decoded(path)


@pytest.mark.parametrize("name", ["a.jpg", "grey.jpg", "a.bmp", "a.webp"])
def test_formats_without_rows_are_decoded_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    assert cv2.imwrite(str(path), GREY if name == "grey.jpg" else PICTURE)
    is_decoded(path)


def test_pieces_overlap_and_come_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(pngs()["RGB"])
    boxes = cut(157, 231, (90, 70), 20)
    with open_rows(path, **LIMITS) as rows:
        found = list(pieces(rows, boxes))
    assert len(found) == len(boxes) > 6
    assert all(np.array_equal(one, PICTURE[y0:y1, x0:x1]) for one, (x0, y0, x1, y1) in zip(found, boxes, strict=True))


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_picture_is_never_wholly_in_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    whole = np.tile(PICTURE, (26, 51, 1))[:6000, :8000]  # 144 MB
    if kind == "png":
        path.write_bytes(cv2.imencode(".png", whole)[1].tobytes())
    else:
        tifffile.imwrite(path, whole, photometric="rgb", rowsperstrip=6000)
    sums = whole.sum(axis=(1, 2), dtype=np.int64)
    del whole
    tracemalloc.start()
    try:
        with open_rows(path, **LIMITS) as rows:
            found = np.concatenate([band.sum(axis=(1, 2), dtype=np.int64) for band in rows.bands])
        assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
    finally:
        tracemalloc.stop()
    assert np.array_equal(found, sums)


def damaged() -> dict[str, tuple[str, bytes, str]]:
    png, tif = pngs()["RGB"], io.BytesIO()
    tifffile.imwrite(tif, PICTURE, photometric="rgb", rowsperstrip=16)
    data = tif.getvalue()
    middle = len(png) // 2
    return {
        "cut short": ("a.png", png[:middle], "truncated PNG"),
        "without end": ("a.png", png[:-12], "truncated PNG"),
        "spoiled": ("a.png", png[:middle] + bytes([png[middle] ^ 255]) + png[middle + 1 :], "damaged PNG"),
        "interlaced in its header alone": ("a.png", png[:28] + b"\1" + png[29:], "a.png"),
        "TIFF cut short": ("a.tif", data[: len(data) - 9_000], "a.tif"),
        "TIFF cut in its head": ("a.tif", data[:60], "TIFF"),
        "no picture": ("a.png", b"hello", "not a picture"),
        "empty": ("a.png", b"", "empty"),
    }


@pytest.mark.parametrize("kind", sorted(damaged()))
def test_a_damaged_file_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    name, body, words = damaged()[kind]
    path = tmp_path / name
    path.write_bytes(body)
    with pytest.raises(BadPicture, match=words) as refused:
        read(path)
    assert str(path) in str(refused.value)


def test_a_picture_over_the_limits_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_module.MAGIC + png_module._chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 10, 8, 0, 0, 0, 0)))
    with pytest.raises(BadPicture, match="40000 x 10 px is over the limit"), open_rows(path, **LIMITS):
        pass


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a\.png: cannot be read"), open_rows(tmp_path / "a.png", **LIMITS):
        pass


def test_a_tiff_in_planes_or_turned_by_a_note_is_refused(tmp_path: Path) -> None:
    planes = tmp_path / "planes.tif"
    tifffile.imwrite(planes, PICTURE.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    with pytest.raises(BadPicture, match="separate colour planes"):
        read(planes)
    turned = tmp_path / "turned.tif"
    tifffile.imwrite(turned, GREY, photometric="minisblack", extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(BadPicture, match="orientation note"):
        read(turned)
