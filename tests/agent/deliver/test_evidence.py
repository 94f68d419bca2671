from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from agent.deliver import Evidence
from agent.deliver.evidence import evidence_jpeg


def decode(jpeg: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_it_shows_the_crack_and_its_surroundings() -> None:
    image = np.full((400, 600, 3), 200, np.uint8)
    image[200:204, 300:340] = (250, 20, 20)
    picture = decode(evidence_jpeg(image, (300, 200, 40, 4)))
    assert picture.shape == (4 + 64, 40 + 64, 3)
    blue, _, red = picture[34, 52].astype(int)
    assert red > blue + 100, "in its own colours"


def test_at_the_frames_edge_there_is_less_of_it() -> None:
    picture = decode(evidence_jpeg(np.zeros((50, 60, 3), np.uint8), (0, 0, 10, 10)))
    assert picture.shape == (42, 42, 3)


def test_noise_of_a_large_frame_still_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    jpeg = evidence_jpeg(noise, (0, 0, 4000, 3000))
    assert len(jpeg) <= 200_000
    assert decode(jpeg).shape[1] >= 320
    assert jpeg == evidence_jpeg(noise, (0, 0, 4000, 3000))


def test_more_than_the_contract_allows_is_refused() -> None:
    with pytest.raises(ValueError, match="evidence of 200001 bytes"):
        Evidence(crack_id="c", report_id="r", jpeg=bytes(200_001))
