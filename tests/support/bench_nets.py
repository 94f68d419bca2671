"""The networks that speed is judged with, untrained: only their cost matters, and dark pixels are their cracks.

`unet8` is the U-Net (Ronneberger et al., 2015) at an eighth of its width; `light` a U-Net on MobileNetV3-small;
`yardstick` the half-resolution U-Net of `train.models.yardstick`. Their parameters and multiply-adds are asserted, so
that a ratio of today can be laid beside one of last year.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import train  # noqa: F401 - see Light
from agent.bundles import shipped_bundles
from export.graphs import SegmenterGraph
from export.to_onnx import to_onnx
from tests.support.bundles import _png, golden_tile, make_bundle, seal
from train.models.yardstick import Yardstick

TILE: Final = 512
OVERLAP: Final = 64
SIZES: Final = {  # parameters, FLOP at 512 (2 per multiply-add)
    "light": (0.89e6, 0.92e9),
    "unet8": (0.49e6, 6.1e9),
    "yardstick": (514_801, 6.7e9),
}
DARK: Final = 0.35  # of full scale: below it a pixel is crack


class Unet8(nn.Module):
    """Levels of 8 to 128 channels, two 3 x 3 convolutions each, transposed convolutions upwards."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 16, 32, 64, 128)
        self.down = nn.ModuleList(_double(a, b) for a, b in zip((3, *widths), widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[-2::-1])
        self.merge = nn.ModuleList(_double(2 * w, w) for w in widths[-2::-1])
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        skips, x = [], image
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return _dark(image, self.head(x))


class Light(nn.Module):
    """MobileNetV3-small's features at strides 2 to 16 and 32, and a thin decoder that ends at half resolution."""

    def __init__(self) -> None:
        super().__init__()
        # not before `train`, which mends a torchvision that was built for another torch
        from torchvision.models import mobilenet_v3_small

        features = mobilenet_v3_small(weights=None).features
        self.stages = nn.ModuleList([features[:1], features[1:2], features[2:4], features[4:9], features[9:12]])
        taken, widths = (16, 16, 24, 48, 96), (16, 12, 8, 8)
        ins = (taken[-1], *widths[:-1])
        self.merge = nn.ModuleList(_single(a + skip, b) for a, skip, b in zip(ins, taken[-2::-1], widths, strict=True))
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        skips, x = [], image * 2 - 1
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        for merge, skip in zip(self.merge, skips[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = merge(torch.cat([skip, x], dim=1))
        return _dark(image, F.interpolate(self.head(x), scale_factor=2.0, mode="bilinear", align_corners=False))


def build(name: str) -> nn.Module:
    """Return a network of the size that it is known for."""
    torch.manual_seed(0)
    net: nn.Module = {"light": Light, "unet8": Unet8, "yardstick": Yardstick}[name]().eval()
    parameters, flop = sum(p.numel() for p in net.parameters()), _flop(net)
    for got, want in zip((parameters, flop), SIZES[name], strict=True):
        if abs(got / want - 1) > 0.06:
            raise ValueError(f"{name}: {parameters} parameters, {flop / 1e9:.2f} GFLOP; known as {SIZES[name]}")
    return net


def write_bundle(folder: Path, name: str) -> Path:
    """Write a bundle with the network and the shipped gate."""
    make_bundle(folder, tile=TILE, overlap=OVERLAP, gate=True, downscale=2)
    graph = SegmenterGraph(build(name)).eval()
    content = to_onnx(graph, tile_px=TILE, output_names=graph.output_names, name=name)
    manifest = json.loads((folder / "manifest.json").read_text())
    shipped = shipped_bundles()["default"]
    real = json.loads((shipped / "manifest.json").read_text())
    shutil.copy(shipped / "gate.onnx", folder / "gate.onnx")
    reference = {"fp32": real["gate"]["variants"]["fp32"]}
    manifest["gate"] = real["gate"] | {"variants": reference}
    manifest["segmenter"]["variants"]["fp32"] = seal(folder, "segmenter.onnx", content)
    manifest["segmenter"] |= {"stride_px": 32, "receptive_field_px": "unbounded"}
    tile = golden_tile(TILE)
    answer = ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"tiles": tile[None]})[0][0]
    small = np.ascontiguousarray(tile.reshape(TILE // 2, 2, TILE // 2, 2, 3).mean(axis=(1, 3)).astype(np.uint8))
    gate = ort.InferenceSession((folder / "gate.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    manifest["golden"][0]["probability"] = seal(folder, "golden/0_probability.png", _png(np.asarray(answer, np.uint8)))
    manifest["golden"][0]["gate_probability"] = float(gate.run(None, {"tiles": small[None]})[0][0])
    text = json.dumps(manifest)
    (folder / "manifest.json").write_text(text)
    if hashlib.sha256(content).hexdigest() not in text:
        raise ValueError("the manifest does not seal the network")
    return folder


def _double(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(_single(a, b), _single(b, b))


def _single(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


def _dark(image: Tensor, logit: Tensor) -> Tensor:
    return logit * 1e-4 + 60 * (DARK - image[:, :1])


def _flop(net: nn.Module) -> float:
    total = 0.0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += 2 * output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            total += 2 * output.numel() * module.weight.shape[0]

    hooks = [module.register_forward_hook(count) for module in net.modules()]
    with torch.no_grad():
        net(torch.zeros(1, 3, TILE, TILE))
    for hook in hooks:
        hook.remove()
    return total
