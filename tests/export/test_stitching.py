"""A map stitched of tiles is the whole picture's own, in float32, wherever the halo covers the receptive field."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from agent.contract.arrays import Float32, UInt8
from agent.contract.tiling import TileGrid
from agent.detect.tiles import TileCutter
from train.models import build

TILE = 160
STRIDE = 8


class FloatGraph(nn.Module):
    """The segmenter as it ships, without the rounding to 255 levels."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, tiles: Tensor) -> Tensor:
        probability: Tensor = self.net(tiles.to(torch.float32).permute(0, 3, 1, 2) * (1 / 255))[:, 0].sigmoid()
        return probability


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return build("half_res_unet", widths=(6, 8, 8)).eval()


@pytest.fixture(scope="module")
def session(net: nn.Module) -> ort.InferenceSession:
    example = torch.zeros((1, 64, 96, 3), dtype=torch.uint8)
    height, width = (torch.export.Dim(name, min=2) for name in ("rows", "columns"))
    with warnings.catch_warnings():  # notes on torch's own insides
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            FloatGraph(net).eval(),
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=18,
            input_names=["tiles"],
            dynamic_shapes=({1: STRIDE * height, 2: STRIDE * width},),
            verbose=False,
        )
    assert program is not None
    return ort.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, picture: UInt8) -> Float32:
    return np.asarray(session.run(None, {"tiles": np.ascontiguousarray(picture[None])})[0][0], np.float32)


def stitched(session: ort.InferenceSession, picture: UInt8, overlap: int) -> Float32:
    height, width = picture.shape[:2]
    cutter = TileCutter(picture, TILE)
    map_ = np.full((height, width), np.nan, np.float32)
    for tile in TileGrid(height=height, width=width, size=TILE, overlap=overlap):
        map_[tile.own_y, tile.own_x] = run(session, cutter.cut(tile))[tile.crop]
    return map_


def whole(session: ort.InferenceSession, picture: UInt8, overlap: int) -> Float32:
    height, width = picture.shape[:2]
    below, right = np.subtract(
        TileGrid(height=height, width=width, size=TILE, overlap=overlap).padded_hw, (height, width)
    )
    padded = np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
    return run(session, padded)[:height, :width]


@given(
    height=st.integers(1, 400), width=st.integers(1, 400), overlap=st.sampled_from([112, 120, 128, 152]),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40)
def test_the_stitched_map_is_the_whole_pictures_for_every_halo_of_the_receptive_field(
    net: nn.Module, session: ort.InferenceSession, height: int, width: int, overlap: int, seed: int
) -> None:
    assert net.receptive_field_px == 107  # every overlap above is at least this
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert np.abs(stitched(session, picture, overlap) - whole(session, picture, overlap)).max() <= 1e-6


def test_below_the_receptive_field_the_two_differ(session: ort.InferenceSession) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (304, 304, 3), np.uint8)
    assert np.abs(stitched(session, picture, 16) - whole(session, picture, 16)).max() > 1e-5
