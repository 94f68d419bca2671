"""Does an ONNX file keep weights outside itself? Told from its bytes, without the onnx package.

A manifest's hash covers the file alone. Runtimes look for outside weights beside the file or, given bytes, in the
current folder: whoever can write there could exchange them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

# onnx.proto3: which fields of a message hold which messages. Everything else is stepped over.
_MESSAGES: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA: Final = 13  # of a tensor: where it lies
_DATA_LOCATION: Final = 14  # of a tensor: 1 is outside
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def keeps_weights_outside(content: bytes) -> bool:
    """Say whether any tensor's values lie in another file.

    What is no ONNX file has none: the runtime that is given it says what is wrong with it.
    """
    try:
        return _outside(memoryview(content), "model")
    except (IndexError, ValueError):
        return False


def _outside(message: memoryview, kind: str) -> bool:
    inner = _MESSAGES[kind]
    for field, value in _fields(message):
        if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value == 1)):
            return True
        if field in inner and isinstance(value, memoryview) and _outside(value, inner[field]):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field: of protobuf's wire format, an int or the bytes of a length-prefixed one."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif wire == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("cut off")
            yield tag >> 3, message[at : at + length]
            at += length
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} is none of protobuf's")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
