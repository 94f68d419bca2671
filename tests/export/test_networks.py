"""The papers' networks leave torch whole: ONNX Runtime answers as torch does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from export.graphs import SegmenterGraph
from export.to_onnx import to_onnx
from tests.support.networks import NARROW
from train import models

LONG = {"u_cliquenet", "crackseg", "crackformer"}  # to trace: half a minute and more


@pytest.mark.parametrize(
    ("name", "options", "edge"),
    [
        pytest.param(*net, marks=[pytest.mark.slow] if net[0] in LONG else [], id=f"{net[0]}-{i}")
        for i, net in enumerate(NARROW)
    ],
)
def test_a_network_answers_the_same_from_onnx(name: str, options: dict[str, Any], edge: int) -> None:
    torch.manual_seed(0)
    graph = SegmenterGraph(models.build(name, **options)).eval()
    tiles = torch.randint(256, (2, edge, edge, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = graph(tiles).numpy()
    file = to_onnx(graph, tile_px=edge, output_names=graph.output_names, name=name)
    (found,) = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(
        None, {"tiles": tiles.numpy()}
    )
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1  # a level of 255: rounding
