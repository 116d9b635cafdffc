"""Pictures from outside: what is taken, what is refused, and in which words."""

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from taktwatch.errors import BadPicture
from taktwatch.pictures import check, decode, encode_jpeg, encode_png, probe

RGB = npt.NDArray[np.uint8]


def noisy(height: int = 96, width: int = 160, seed: int = 0) -> RGB:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (5, 5), 2), dtype=np.uint8)


def written(suffix: str, picture: npt.NDArray[np.generic], *settings: int) -> bytes:
    ok, buffer = cv2.imencode(suffix, picture, list(settings))
    assert ok
    return bytes(buffer.tobytes())


def empty_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_the_header_gives_the_size_of_every_format_cameras_write(suffix: str) -> None:
    info = probe(written(suffix, noisy(96, 160)))
    assert (info.width, info.height) == (160, 96)
    assert info.media_type.startswith("image/")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_a_lossless_picture_comes_back_pixel_by_pixel(suffix: str) -> None:
    picture = noisy()
    decoded = decode(written(suffix, np.ascontiguousarray(picture[:, :, ::-1])))
    assert np.array_equal(decoded, picture)
    assert decoded.flags.c_contiguous
    assert decoded.dtype == np.uint8


def test_encoding_keeps_red_red() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[:, :, 0] = 200
    assert np.array_equal(decode(encode_png(red)), red)
    assert np.abs(decode(encode_jpeg(red)).astype(int) - red).max() < 4


def test_the_same_picture_is_encoded_to_the_same_bytes() -> None:
    assert encode_jpeg(noisy(), 95) == encode_jpeg(noisy(), 95)
    assert encode_png(noisy()) == encode_png(noisy())


def test_grey_16_bit_and_transparent_pictures_become_rgb() -> None:
    grey = noisy()[:, :, 0]
    assert np.array_equal(decode(written(".png", grey)), np.dstack([grey] * 3))
    assert np.array_equal(decode(written(".png", grey.astype(np.uint16) * 257)), np.dstack([grey] * 3))
    clear = np.dstack([grey, grey, grey, np.zeros_like(grey)])
    assert np.array_equal(decode(written(".png", clear)), np.dstack([grey] * 3))


def test_an_empty_file_is_named_as_such() -> None:
    with pytest.raises(BadPicture, match=r"^nothing\.png: empty, 0 bytes"):
        decode(b"", name="nothing.png")


def test_a_text_file_named_jpg_is_no_picture() -> None:
    with pytest.raises(BadPicture, match=r"^notes\.jpg: not a picture \(begins with b'these ar'\)"):
        decode(b"these are notes", name="notes.jpg")


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_off_jpeg_is_refused_wherever_it_was_cut(share: float, progressive: int) -> None:
    whole = written(".jpg", noisy(480, 640), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    with pytest.raises(BadPicture, match=r"^half\.jpg: a .*send the whole file$"):
        decode(whole[: int(len(whole) * share)], name="half.jpg")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_off_png_is_refused(share: float) -> None:
    whole = encode_png(noisy())
    with pytest.raises(BadPicture, match=r"^half\.png: a truncated PNG \(no end marker\); send the whole file$"):
        decode(whole[: int(len(whole) * share)], name="half.png")


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".webp"])
def test_half_a_picture_of_another_format_is_refused(suffix: str) -> None:
    whole = written(suffix, noisy())
    with pytest.raises(BadPicture, match=r"^half: "):
        decode(whole[: len(whole) // 2], name="half")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_half_a_jpeg_closed_with_an_end_marker_is_still_found_out(share: float) -> None:
    whole = written(".jpg", noisy(480, 640))
    with pytest.raises(BadPicture, match="data ends before the last row"):
        decode(whole[: int(len(whole) * share)] + b"\xff\xd9")


def test_a_jpeg_that_really_ends_in_grey_is_taken() -> None:
    picture = noisy(480, 640)
    picture[200:] = 128
    assert decode(encode_jpeg(picture)).shape == picture.shape
    assert decode(written(".jpg", picture)).shape == picture.shape
    assert decode(encode_jpeg(np.full((64, 64, 3), 128, np.uint8))).shape == (64, 64, 3)


def test_a_jpeg_with_a_preview_and_bytes_after_its_end_is_taken() -> None:
    whole = written(".jpg", noisy())
    preview = written(".jpg", noisy(16, 16))
    note = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    assert decode(whole[:2] + note + whole[2:] + b"left by the camera").shape == (96, 160, 3)
    with pytest.raises(BadPicture, match="truncated JPEG"):
        decode((whole[:2] + note + whole[2:])[:-200])


def test_a_huge_picture_is_refused_before_memory_is_taken_for_it() -> None:
    data = empty_png(30_000, 30_000)
    tracemalloc.start()
    with pytest.raises(BadPicture, match=r"^big\.png: 30000 x 30000 px is over the limit of 20000 px a side"):
        decode(data, name="big.png")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_the_limit_counts_pixels_as_well_as_sides() -> None:
    with pytest.raises(BadPicture, match="over the limit"):
        check(empty_png(10_000, 10_000))
    assert check(encode_png(noisy(10, 10)), max_px=100, max_side=10).width == 10
    with pytest.raises(BadPicture, match="over the limit"):
        check(encode_png(noisy(10, 10)), max_px=99, max_side=10)


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    data = bytearray(encode_png(noisy()))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BadPicture, match="damaged"):
        decode(bytes(data))


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(BadPicture, match="0 x 0"):
        probe(empty_png(0, 0))


def test_random_bytes_behind_a_magic_number_never_crash() -> None:
    rng = np.random.default_rng(1)
    for magic in (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"BM",
        b"II*\x00",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"\xff\xd8\xff\xc0",
    ):
        for length in (0, 1, 7, 30, 200):
            with pytest.raises(BadPicture):
                decode(magic + rng.bytes(length), name="garbage")
