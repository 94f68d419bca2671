"""What is not segmented: tiles that the classical pre-gate refuses, ignored parts, frames too large for memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle
from agent.detect import Detector
from agent.detect.memory import BYTES_PER_PIXEL, MemoryBudget
from agent.detect.settings import PreGateSettings
from agent.errors import InferenceError
from agent.infer.onnx_runtime import OnnxRuntime

ON = PreGateSettings(enabled=True)


def wall(height: int = 200, width: int = 300) -> UInt8:
    """A wall with a slow change of light, a wide dark patch, and a dark line of 3 px at rows 100 to 102."""
    frame = np.full((height, width, 3), 160, np.uint8)
    frame += np.linspace(0, 60, width).astype(np.uint8)[None, :, None]
    frame[150:200, 200:300] = 40
    frame[100:103, :100] = 60
    return frame


def test_the_pre_gate_is_off_unless_asked_for(tiny_bundle: Bundle) -> None:
    detection = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest, gate=False).detect(wall())
    assert detection.tiles_segmented == detection.tiles


@pytest.mark.parametrize("gate", [True, False])
def test_the_pre_gate_passes_thin_dark_lines_and_neither_plain_wall_nor_wide_shade(
    tiny_bundle: Bundle, *, gate: bool
) -> None:
    backend = OnnxRuntime(tiny_bundle)
    gated = Detector(backend, tiny_bundle.manifest, gate=gate, pre_gate=ON).detect(wall())
    every = Detector(backend, tiny_bundle.manifest, gate=False).detect(wall())
    assert 0 < gated.tiles_segmented <= 6 < gated.tiles  # those with the line
    line = every.probability[95:108, :100] >= 128
    assert line.any()
    assert np.array_equal(gated.probability[95:108, :100] >= 128, line)


def test_a_line_that_is_too_faint_for_the_setting_does_not_pass(tiny_bundle: Bundle) -> None:
    pre_gate = PreGateSettings(enabled=True, contrast=130)
    detector = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest, gate=False, pre_gate=pre_gate)
    assert detector.detect(wall()).tiles_segmented == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (3, 3)])
def test_the_pre_gate_survives_the_smallest_frames(tiny_bundle: Bundle, size: tuple[int, int]) -> None:
    detector = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest, pre_gate=ON)
    assert detector.detect(np.zeros((*size, 3), np.uint8)).probability.shape == size


def test_an_ignored_part_is_neither_looked_at_nor_reported(tiny_bundle: Bundle) -> None:
    detector = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest, gate=False)
    frame = wall()
    ignored = np.zeros(frame.shape[:2], np.bool_)
    ignored[:, :70] = True
    got, whole = detector.detect(frame, ignored=ignored), detector.detect(frame)
    assert got.tiles_ignored == 4  # the first column of tiles owns 56 px and lies under it as a whole
    assert got.tiles_segmented == got.tiles - got.tiles_ignored
    assert not got.probability[:, :70].any()
    assert whole.probability[100:103, :70].any()
    assert np.array_equal(got.probability[:, 70:], whole.probability[:, 70:])


def test_a_frame_ignored_as_a_whole_costs_no_run(tiny_bundle: Bundle) -> None:
    detector = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest)
    detection = detector.detect(wall(), ignored=np.ones((200, 300), np.bool_))
    assert (detection.tiles_segmented, detection.run_seconds) == (0, 0)
    assert detection.tiles_ignored == detection.tiles


def test_an_ignored_part_of_another_size_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(InferenceError, match="ignored is"):
        Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest).detect(wall(), ignored=np.ones((2, 3), np.bool_))


def test_a_frame_above_the_memory_is_refused_with_both_figures(tiny_bundle: Bundle) -> None:
    memory = MemoryBudget(200 * 300 * BYTES_PER_PIXEL - 1)
    detector = Detector(OnnxRuntime(tiny_bundle), tiny_bundle.manifest, memory=memory)
    with pytest.raises(InferenceError, match=r"300x200 px needs .* detect\.memory_mb"):
        detector.detect(wall())
    assert detector.detect(wall(199)).tiles  # the refusal holds nothing back


def test_frames_of_all_cameras_together_stay_within_the_memory() -> None:
    budget = MemoryBudget(2 * 100 * BYTES_PER_PIXEL)
    most: list[int] = []
    together = threading.Barrier(6)

    def look() -> None:
        together.wait(30)
        for _ in range(200):
            with budget.frame(10, 10):
                most.append(budget.taken_bytes)

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 1200
    assert max(most) <= 2 * 100 * BYTES_PER_PIXEL
    assert budget.taken_bytes == 0


def test_memory_is_given_back_when_a_frame_fails() -> None:
    budget = MemoryBudget(100 * BYTES_PER_PIXEL)
    with pytest.raises(RuntimeError), budget.frame(10, 10):
        raise RuntimeError
    with budget.frame(10, 10):
        pass


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="limit_bytes=0"):
        MemoryBudget(0)
