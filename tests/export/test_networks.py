"""The papers' networks leave torch whole: ONNX Runtime answers as torch does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from export.graphs import SegmenterGraph
from export.to_onnx import to_onnx
from tests.support.full_width import FULL, bounded, main
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


def test_a_network_that_the_memory_is_too_small_for_is_told_and_not_passed() -> None:
    found, fault = bounded("modified_unet", memory_gb=0.25)  # torch alone takes more
    assert found is None
    assert fault


def test_full_width_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name, _, _ in FULL.values()} <= set(models.MODELS)
    with pytest.raises(SystemExit):
        main(["unet_of_nobody"])
    assert "no network is called unet_of_nobody; there are spiral_net" in capsys.readouterr().err
