"""Pictures without what their files say beside the pixels: place, time, maker, previews."""

from __future__ import annotations

import struct
from typing import Final

import cv2

from agent.capture.decode import decode_image
from agent.contract.arrays import UInt8
from agent.errors import InputError

_JPEG: Final = b"\xff\xd8"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SCAN, _END = 0xDA, 0xD9
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
# JFIF, Adobe's colour transform; of APP2 the colour profile alone, for multi-picture files hide previews there
_KEPT: Final = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_CHUNKS: Final = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs"}
)


def bare_picture(content: bytes, size_hw: tuple[int, int]) -> tuple[bytes, str]:
    """Return a picture's file upright, of the same pixels, with neither EXIF, XMP, comment nor preview.

    JPEG and PNG files lose those parts and keep their compressed pixels; what is turned by its EXIF, and every other
    kind, becomes a PNG.

    Args:
        content: the file.
        size_hw: height and width, px, in which its cracks were found.

    Returns:
        The file and its suffix.

    Raises:
        InputError: it cannot be decoded, or is of another size.
    """
    image = decode_image(content)
    if image.shape[:2] != size_hw:
        raise InputError(f"the picture has {image.shape[:2]} px, its frame {size_hw}; the record was altered")
    for strip, suffix in ((_bare_jpeg, ".jpg"), (_bare_png, ".png")):
        stripped = strip(content)
        if stripped is not None and _same(stripped, image):  # else it was turned, or is of more bits than it shows
            return stripped, suffix
    return _png(image), ".png"


def upright_picture(content: bytes, suffix: str, size_hw: tuple[int, int]) -> tuple[bytes, str]:
    """Return a picture's file as it is, or as a PNG if readers that know no EXIF would show it turned.

    Raises:
        InputError: it cannot be decoded, or is of another size.
    """
    image = decode_image(content)
    if image.shape[:2] != size_hw:
        raise InputError(f"the picture has {image.shape[:2]} px, its frame {size_hw}; the record was altered")
    stripped = _bare_jpeg(content)
    as_it_is = (stripped is not None and _same(stripped, image)) or content.startswith(_PNG)
    return (content, suffix) if as_it_is else (_png(image), ".png")


def _bare_jpeg(content: bytes) -> bytes | None:
    """Return a JPEG without its application parts but colour's; None if it is none. What follows its end goes."""
    if not content.startswith(_JPEG):
        return None
    kept, at = [_JPEG], len(_JPEG)
    while at + 2 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == _END:
            return b"".join([*kept, b"\xff\xd9"])
        if marker in _ALONE or marker == 0xFF:
            at += 1 if marker == 0xFF else 2
            continue
        if at + 4 > len(content):
            return None
        (length,) = struct.unpack_from(">H", content, at + 2)
        part = content[at : at + 2 + length]
        at += 2 + length
        application = 0xE0 <= marker <= 0xEF
        if marker != 0xFE and (not application or part[4:].startswith(_KEPT.get(marker, b"\xff never"))):
            kept.append(part)
        if marker == _SCAN:
            start, at = at, _after_scan(content, at)
            kept.append(content[start:at])
    return None


def _after_scan(content: bytes, at: int) -> int:
    """Return where the next marker stands that is no part of the compressed data."""
    while (at := content.find(b"\xff", at)) >= 0 and at + 1 < len(content):
        if content[at + 1] != 0 and not 0xD0 <= content[at + 1] <= 0xD7:
            return at
        at += 2
    return len(content)


def _bare_png(content: bytes) -> bytes | None:
    """Return a PNG without its texts, times and EXIF; None if it is none."""
    if not content.startswith(_PNG):
        return None
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name in _CHUNKS:
            kept.append(content[at : at + 12 + length])
        at += 12 + length
        if name == b"IEND":
            return b"".join(kept)
    return None


def _same(content: bytes, image: UInt8) -> bool:
    try:
        other = decode_image(content)
    except InputError:
        return False
    return other.shape == image.shape and bool((other == image).all())


def _png(image_rgb: UInt8) -> bytes:
    done, encoded = cv2.imencode(".png", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise InputError(f"a picture of {image_rgb.shape[1]}x{image_rgb.shape[0]} px cannot become a PNG")
    return encoded.tobytes()
