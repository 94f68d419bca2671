from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, load_bundle
from agent.contract.tiling import TileGrid
from agent.detect import Detector
from agent.errors import InferenceError
from agent.infer.onnx_runtime import OnnxRuntime
from tests.support.bundles import WINDOW, make_bundle, segmenter_graph


@pytest.fixture(scope="module")
def detector(tiny_bundle: Bundle) -> Detector:
    return Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest, gate=False)


@pytest.fixture(scope="module")
def whole_image() -> ort.InferenceSession:
    """The same network without tiles."""
    return ort.InferenceSession(segmenter_graph(None).SerializeToString(), providers=["CPUExecutionProvider"])


def noise(height: int, width: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(height=st.integers(1, 200), width=st.integers(1, 200), overlap=st.sampled_from([WINDOW - 1, 16, 30]))
@settings(max_examples=40)
def test_stitched_is_the_whole_image_for_every_halo_of_the_receptive_field(
    whole_image: ort.InferenceSession, tmp_path_factory: pytest.TempPathFactory, height: int, width: int, overlap: int
) -> None:
    bundle = load_bundle(make_bundle(tmp_path_factory.mktemp("b") / "b", overlap=overlap, gate=False))
    frame = noise(height, width)
    got = Detector(OnnxRuntime(bundle), bundle.manifest).detect(frame).probability
    below, right = np.subtract(
        TileGrid(height=height, width=width, size=64, overlap=overlap).padded_hw, frame.shape[:2]
    )
    padded = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    whole = whole_image.run(None, {"tiles": padded[None]})[0][0][:height, :width]
    assert np.abs(got.astype(int) - whole).max() <= 1  # one level: the rounding of x.5 may tip either way


def test_an_overlap_below_the_receptive_field_does_differ(whole_image: ort.InferenceSession, tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b", overlap=0, gate=False))
    frame = noise(128, 128)
    got = Detector(OnnxRuntime(bundle), bundle.manifest).detect(frame).probability
    whole = whole_image.run(None, {"tiles": frame[None]})[0][0]
    assert np.abs(got.astype(int) - whole).max() > 1


def line_at(row: int, height: int = 200, width: int = 300) -> UInt8:
    frame = np.full((height, width, 3), 200, np.uint8)
    frame[row : row + 2, :100] = 60
    return frame


def test_the_gate_saves_the_tiles_without_cracks_and_loses_none_with(tiny_bundle: Bundle) -> None:
    frame = line_at(100)
    backend = OnnxRuntime(tiny_bundle)
    gated = Detector(backend, tiny_bundle.manifest).detect(frame)
    every = Detector(backend, tiny_bundle.manifest, gate=False).detect(frame)
    assert every.tiles_segmented == every.tiles == gated.tiles
    assert 0 < gated.tiles_segmented < gated.tiles
    crack = every.probability >= 128
    assert crack[100:102, :95].all()
    assert np.array_equal(gated.probability >= 128, crack)


def test_a_gate_threshold_of_zero_lets_every_tile_through(tiny_bundle: Bundle) -> None:
    detection = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest, gate_threshold=0).detect(line_at(20))
    assert detection.tiles_segmented == detection.tiles


def test_workers_change_nothing_but_the_time(tiny_bundle: Bundle) -> None:
    backend, frame = OnnxRuntime(tiny_bundle), noise(300, 400)
    several = Detector(backend, tiny_bundle.manifest, workers=4)
    alone = Detector(backend, tiny_bundle.manifest)
    assert np.array_equal(several.detect(frame).probability, alone.detect(frame).probability)
    several.close()


def test_the_frame_is_left_as_it_was(detector: Detector) -> None:
    frame = noise(100, 100)
    before = frame.copy()
    frame.setflags(write=False)
    detector.detect(frame)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("frame", [noise(4, 4)[:, :, 0], noise(4, 4).astype(np.float32), noise(4, 4)[:, :, :2]])
def test_what_is_no_rgb_frame_is_refused(detector: Detector, frame: UInt8) -> None:
    with pytest.raises(InferenceError, match="a frame is uint8"):
        detector.detect(frame)


def test_seconds_in_the_runtime_are_counted(detector: Detector) -> None:
    assert detector.detect(noise(256, 256)).run_seconds > 0
