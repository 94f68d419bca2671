"""The libraries that people would take instead, as their documentation says to use them; in `.venv-bench` alone."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from sahi.models.base import DetectionModel
from sahi.predict import get_sliced_prediction

from agent.contract.arrays import UInt8
from agent.infer.onnx_runtime import OnnxRuntime
from tests.support.bench_nets import OVERLAP, TILE


class Segmenter(DetectionModel):  # type: ignore[misc]
    """Our network as SAHI wants it; what it finds is left out, so that SAHI merges nothing."""

    required_packages: ClassVar[list[str]] = []

    def __init__(self, backend: OnnxRuntime | None) -> None:
        self._backend = backend
        super().__init__(device="cpu", category_mapping={"0": "crack"}, load_at_init=False)

    def check_dependencies(self, *_: object) -> None:
        """Nothing to be checked."""

    def load_model(self) -> None:
        """Nothing to be loaded."""

    def perform_inference(self, image: UInt8) -> None:
        """Normalise and infer."""
        tile = np.ascontiguousarray((image.astype(np.float32) / 255).transpose(2, 0, 1)[None])
        self._original_predictions: Any = tile.shape if self._backend is None else self._backend.infer(image[None])

    def _create_object_prediction_list_from_original_predictions(self, *_: object, **__: object) -> None:
        self._object_prediction_list_per_image: list[list[Any]] = [[]]


def sahi(frame: UInt8, backend: OnnxRuntime | None) -> object:
    """Slice a frame with SAHI, without its full-frame pass; None infers nothing."""
    return get_sliced_prediction(
        frame,
        Segmenter(backend),
        slice_height=TILE,
        slice_width=TILE,
        overlap_height_ratio=OVERLAP / TILE,
        overlap_width_ratio=OVERLAP / TILE,
        perform_standard_pred=False,
        verbose=0,
    )


def monai(frame: UInt8) -> object:
    """Slide MONAI's window over a frame with a stub net."""
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    torch.set_num_threads(1)
    return sliding_window_inference(picture, TILE, 1, lambda tiles: tiles[:, :1] * 0, overlap=OVERLAP / TILE)
