from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agent.capture.decode import decode_image
from agent.contract.arrays import UInt8
from agent.errors import InputError


@pytest.fixture(scope="module")
def picture() -> UInt8:
    """Smooth, so that JPEG keeps it; red grows to the right, green downwards."""
    y, x = np.mgrid[:60, :80]
    return np.stack([x * 3, y * 4, np.full_like(x, 40)], axis=2).astype(np.uint8)


def encode(suffix: str, rgb: NDArray[Any]) -> bytes:
    return cv2.imencode(suffix, rgb[..., ::-1] if rgb.ndim == 3 and rgb.shape[2] == 3 else rgb)[1].tobytes()


def with_exif(jpeg: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    """Put an EXIF block with an orientation (and any bytes as a thumbnail) in front of a JPEG."""
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0) + thumbnail
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".webp", ".jpg"])
def test_each_kind_is_read_as_rgb(picture: UInt8, suffix: str) -> None:
    got = decode_image(encode(suffix, picture))
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - picture).mean() < (3 if suffix in {".jpg", ".webp"} else 0.01)


def test_grey_becomes_rgb(picture: UInt8) -> None:
    assert np.array_equal(decode_image(encode(".png", picture[:, :, 0])), np.repeat(picture[:, :, :1], 3, axis=2))


def test_16_bits_become_8(picture: UInt8) -> None:
    grey = picture[:, :, 0]
    deep = encode(".png", (grey.astype(np.uint16) * 257))
    assert np.abs(decode_image(deep)[:, :, 0].astype(int) - grey).max() <= 1


def test_an_alpha_channel_is_left_out(picture: UInt8) -> None:
    bgra = np.dstack([picture[:, :, ::-1], np.full(picture.shape[:2], 128, np.uint8)])
    assert np.array_equal(decode_image(cv2.imencode(".png", bgra)[1].tobytes()), picture)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_a_photo_is_turned_upright_by_its_exif(picture: UInt8, orientation: int, turns: int) -> None:
    got = decode_image(with_exif(encode(".jpg", picture), orientation))
    want = np.rot90(picture, turns)
    assert got.shape == want.shape
    assert np.abs(got.astype(int) - want).mean() < 3


def test_one_pixel_is_a_picture() -> None:
    assert decode_image(encode(".png", np.array([[[1, 2, 3]]], np.uint8))).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_picture_is_an_error_and_no_grey_filling(suffix: str, share: float) -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    content = encode(suffix, noisy)
    with pytest.raises(InputError, match="cut short"):
        decode_image(content[: int(len(content) * share)])


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_photo() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    whole = with_exif(encode(".jpg", noisy), 1, thumbnail=encode(".jpg", noisy[:20, :20]))
    assert decode_image(whole).shape == (200, 200, 3)
    with pytest.raises(InputError, match="cut short"):
        decode_image(whole[: len(whole) // 2])


def test_bytes_after_the_end_do_no_harm(picture: UInt8) -> None:
    assert decode_image(encode(".jpg", picture) + b"\0" * 5000).shape == picture.shape


@pytest.mark.parametrize("content", [b"", b"hello, I am text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"IEND"])
def test_what_is_no_picture_is_an_error(content: bytes) -> None:
    with pytest.raises(InputError):
        decode_image(content)


def test_cmyk_is_read(picture: UInt8) -> None:
    """An Adobe CMYK JPEG, as print shops and some archives keep them: Pillow can write it, OpenCV cannot."""
    buffer = io.BytesIO()
    Image.fromarray(picture).convert("CMYK").save(buffer, "JPEG", quality=95)
    assert np.abs(decode_image(buffer.getvalue()).astype(int) - picture).mean() < 6
