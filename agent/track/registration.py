"""The motion between two pictures of a plane, from their features; None where the pictures do not tell it surely.

ORB features (Rublee et al., ICCV 2011) with the ratio test, then MAGSAC++ (Barath et al., CVPR 2020; OpenCV's USAC).
Walls look alike everywhere, so a motion counts only if enough features agree on it, they are spread over the picture,
it is one that a camera can make between two pictures, and the pictures, laid over each other, look alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64, UInt8
from agent.track.grey import Grey, halved
from agent.track.placement import corners, projected

WORK_EDGE_PX: Final = 960  # pictures are reduced to this for their features
LEAST_EDGE_PX: Final = 96  # a smaller picture has no room for features
RATIO: Final = 0.8  # best to second best descriptor
LEAST_INLIERS: Final = 18
LEAST_SHARE: Final = 0.3  # of the matches that must agree
REPROJECTION_PX: Final = 2.5  # at the reduced size
SIMILARITY_SHARE: Final = (
    0.9  # a similarity that explains this share of what a homography does is taken: it drifts less
)
AREA_RATIO: Final = (0.25, 4.0)  # between neighbouring pictures
LEAST_OVERLAP: Final = 0.1  # of the picture
LEAST_LIKENESS: Final = 0.35  # correlation of the pictures over each other, after their slow light is taken out
LEAST_SPREAD: Final = 0.02  # of the picture's area, spanned by the features that agree
LIKENESS_EDGE_PX: Final = 320


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """What registration keeps of a picture."""

    hw: tuple[int, int]  # of the frame, px
    zoom: float  # reduced px per px of the frame
    xy: Float32  # (N, 2) at the reduced size
    descriptors: UInt8  # (N, 32)
    small: Float32  # (h, w) reduced further, its slow light taken out, sd 1


def describe(image_rgb: UInt8, whole: Grey, *, most: int) -> Features:
    """Return the features of a picture (H, W, 3).

    Args:
        image_rgb: the picture.
        whole: its grey.
        most: features, the strongest of each part of the picture first.
    """
    height, width = image_rgb.shape[:2]
    zoom = min(1.0, WORK_EDGE_PX / max(height, width))
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    grey = _grey(image_rgb, whole, size)
    points: Sequence[cv2.KeyPoint] = ()
    descriptors = None
    if min(grey.shape) >= LEAST_EDGE_PX:
        orb = cv2.ORB.create(nfeatures=most, scaleFactor=1.3, nlevels=5, fastThreshold=7)
        points, descriptors = orb.detectAndCompute(grey, None)
    shrink = min(1.0, LIKENESS_EDGE_PX / max(grey.shape))
    tiny = cv2.resize(
        grey, (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))), interpolation=cv2.INTER_AREA
    )
    return Features(
        hw=(height, width),
        zoom=zoom,
        xy=np.array([point.pt for point in points], np.float32).reshape(-1, 2),
        descriptors=np.zeros((0, 32), np.uint8) if descriptors is None else np.asarray(descriptors, np.uint8),
        small=_flattened(np.asarray(tiny, np.uint8)),
    )


def _grey(image_rgb: UInt8, whole: Grey, size: tuple[int, int]) -> UInt8:
    """Reduce a picture to grey of a size: by halves first."""
    image = image_rgb
    if image.shape[1] > 2 * size[0]:
        image = whole.half
        while image.shape[1] > 2 * size[0]:
            image = halved(image)
    if (image.shape[1], image.shape[0]) != size:
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def register(picture: Features, onto: Features) -> Float64 | None:
    """Return the homography (3, 3) from px of `picture` to px of `onto`, or None."""
    pairs = _matches(picture.descriptors, onto.descriptors)
    if len(pairs) < LEAST_INLIERS:
        return None
    source, target = picture.xy[pairs[:, 0]], onto.xy[pairs[:, 1]]
    motion = _motion(source, target)
    if motion is None:
        return None
    matrix, agree = motion
    if agree.sum() < LEAST_INLIERS or agree.mean() < LEAST_SHARE:
        return None
    area = picture.hw[0] * picture.hw[1] * picture.zoom**2
    if cv2.contourArea(cv2.convexHull(source[agree])) < LEAST_SPREAD * area:
        return None
    full = _scaling(1 / onto.zoom) @ matrix @ _scaling(picture.zoom)
    full /= full[2, 2]
    return full if plausible(full, picture.hw, onto.hw) and _alike(full, picture, onto) else None


def plausible(matrix: Float64, hw: tuple[int, int], onto_hw: tuple[int, int]) -> bool:
    """Whether a camera may have moved so between two pictures that it took one after the other."""
    corner = corners(hw)
    if not np.isfinite(matrix).all() or (np.column_stack([corner, np.ones(4)]) @ matrix[2] <= 0.2).any():
        return False  # the horizon runs through the picture, or near it
    moved = projected(matrix, corner).astype(np.float32)
    if not cv2.isContourConvex(moved) or np.linalg.det(matrix) <= 0:
        return False
    area = float(cv2.contourArea(moved))
    common, _ = cv2.intersectConvexConvex(moved, corners(onto_hw).astype(np.float32))
    whole = onto_hw[0] * onto_hw[1]  # not the picture's own: its size may change in mid-video
    return AREA_RATIO[0] <= area / whole <= AREA_RATIO[1] and common >= LEAST_OVERLAP * min(area, whole)


def _matches(query: UInt8, train: UInt8) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    if len(query) < LEAST_INLIERS or len(train) < LEAST_INLIERS:
        return np.zeros((0, 2), np.int64)
    near = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(query, train, k=2)
    good = [
        (pair[0].queryIdx, pair[0].trainIdx, pair[0].distance)
        for pair in near
        if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance
    ]
    best: dict[int, tuple[float, int]] = {}
    for source, target, distance in good:  # one to one
        if target not in best or distance < best[target][0]:
            best[target] = (distance, source)
    return np.array([(source, target) for target, (_, source) in best.items()], np.int64).reshape(-1, 2)


def _motion(source: Float32, target: Float32) -> tuple[Float64, np.ndarray[tuple[int], np.dtype[np.bool_]]] | None:
    """A similarity where it does nearly as well, else a homography, with the pairs that agree on it."""
    found: tuple[Any, Any] = cv2.findHomography(
        source, target, cv2.USAC_MAGSAC, REPROJECTION_PX, maxIters=3000, confidence=0.999
    )
    matrix, agree = found
    if matrix is None or agree is None:
        return None
    similar: tuple[Any, Any] = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=REPROJECTION_PX, maxIters=3000, confidence=0.999
    )
    rigid, rigid_agree = similar
    if rigid is not None and rigid_agree.sum() >= SIMILARITY_SHARE * agree.sum():
        return np.vstack([rigid, [0.0, 0.0, 1.0]]), rigid_agree.ravel().astype(bool)
    return np.asarray(matrix, np.float64), agree.ravel().astype(bool)


def _alike(matrix: Float64, picture: Features, onto: Features) -> bool:
    to_small = _scaling(onto.small.shape[1] / onto.hw[1]) @ matrix @ _scaling(picture.hw[1] / picture.small.shape[1])
    size = (onto.small.shape[1], onto.small.shape[0])
    laid = cv2.warpPerspective(picture.small, to_small, size, flags=cv2.INTER_LINEAR)
    inside = cv2.warpPerspective(np.ones_like(picture.small), to_small, size, flags=cv2.INTER_NEAREST) > 0.5
    if inside.sum() < 64:
        return False
    a, b = laid[inside], onto.small[inside]
    spread = float(a.std() * b.std())
    if spread < 1e-9:
        return False
    return bool(((a - a.mean()) * (b - b.mean())).mean() / spread >= LEAST_LIKENESS)


def _flattened(grey: UInt8) -> Float32:
    light = grey.astype(np.float32)
    light = np.asarray(cv2.GaussianBlur(light, (0, 0), 1.0) - cv2.GaussianBlur(light, (0, 0), 6.0), np.float32)
    return np.asarray(light / max(float(light.std()), 1e-6), np.float32)


def _scaling(factor: float) -> Float64:
    """Scale px whose centres are at integers."""
    shift = (factor - 1) / 2 if math.isfinite(factor) else 0.0
    return np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1.0]])
