"""What every runtime refuses, in the same words."""

from __future__ import annotations

import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, FileRef, NetRef, Precision
from agent.errors import BundleError, InferenceError

NO_GATE = "this bundle has no gate; switch it off with `detect.gate: false`"


def check_tiles(tiles: UInt8, *, edge: int, name: str) -> None:
    """Refuse what is not uint8 (N, edge, edge, 3).

    Raises:
        InferenceError: tiles of another shape or type, with both.
    """
    if tiles.dtype != np.uint8 or tiles.shape[1:] != (edge, edge, 3):
        raise InferenceError(
            f"{name}: takes uint8 tiles of shape (N, {edge}, {edge}, 3), got {tiles.dtype} {tiles.shape}"
        )


def graph_file(bundle: Bundle, net: NetRef, variant: Precision) -> FileRef:
    """Return the file of a network's variant.

    Raises:
        BundleError: the bundle lacks it.
    """
    ref = net.variants.get(variant)
    if ref is None:
        raise BundleError(f"{bundle.folder}: no {variant} variant of {net.architecture}; has {sorted(net.variants)}")
    return ref
