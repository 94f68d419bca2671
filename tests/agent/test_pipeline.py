"""The pipeline sees protocols only: here with second implementations of them, each with a fault of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle
from agent.contract.crack import Crack
from agent.contract.flight import Coverage, CrackRow, FrameRow, TrackRow
from agent.contract.frame import Frame, Scale
from agent.detect import Detector
from agent.infer.onnx_runtime import OnnxRuntime
from agent.pipeline import Pipeline
from agent.track import Survey
from agent.track.settings import CoverageSettings, TrackSettings


class Notebook:
    """A record in memory."""

    def __init__(self) -> None:
        self.rows: list[FrameRow] = []

    def keep_frame(self, frame: Frame, *, evidence: bool) -> str | None:
        return None

    def add(self, frame: FrameRow, cracks: Sequence[CrackRow] = (), tracks: Sequence[TrackRow] = ()) -> None:
        self.rows.append(frame)

    def end_tracks(self, tracks: Sequence[TrackRow]) -> None:
        """Nothing was followed."""

    def write_coverage(self, coverage: Coverage) -> None:
        """Not looked at."""


def survey() -> Survey:
    return Survey("m", TrackSettings(), CoverageSettings())


class FailsOn:
    """Measures nothing, and fails on frames of one height."""

    def __init__(self, height: int, fault: Exception) -> None:
        self._height, self._fault = height, fault

    def __call__(self, probability: UInt8, image_rgb: UInt8, *, scale: Scale) -> list[Crack]:
        if len(image_rgb) == self._height:
            raise self._fault
        return []


def frames() -> Iterator[Frame]:
    for index, height in enumerate((60, 61, 62)):
        image = np.full((height, 70, 3), 200, np.uint8)
        yield Frame(
            index=index, name=f"{index}", source="s", camera="c", image_rgb=image, sha256="0" * 64, media_time_ns=None
        )


@pytest.mark.parametrize("fault", [MemoryError(), cv2.error("remap fails")])
def test_a_frame_that_cannot_be_measured_is_a_counted_skip_and_the_rest_goes_on(
    tiny_bundle: Bundle, fault: Exception
) -> None:
    backend, notebook = OnnxRuntime(tiny_bundle), Notebook()
    tally = Pipeline(
        finder=Detector(backend, tiny_bundle.manifest),
        backend=backend,
        measure=FailsOn(61, fault),
        survey=survey(),
        record=notebook,
        listeners=[],
        mission_id="m",
    ).run(frames())
    assert (tally.frames, tally.skipped) == (2, 1)
    assert [row.status for row in notebook.rows] == ["inferred", "skipped", "inferred"]
    assert notebook.rows[1].reason


def test_a_fault_of_our_own_is_not_taken_for_a_bad_frame(tiny_bundle: Bundle) -> None:
    backend = OnnxRuntime(tiny_bundle)
    pipeline = Pipeline(
        finder=Detector(backend, tiny_bundle.manifest),
        backend=backend,
        measure=FailsOn(61, TypeError("a bug")),
        survey=survey(),
        record=Notebook(),
        listeners=[],
        mission_id="m",
    )
    with pytest.raises(TypeError, match="a bug"):
        pipeline.run(frames())
