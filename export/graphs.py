"""The networks as they ship: uint8 pictures in, answers out, everything between inside the graph.

The cast comes before the transpose: TensorRT refuses to transpose uint8, and torch's exporter keeps the order in which
a module is written.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SegmenterGraph(nn.Module):
    """Tiles (N, H, W, 3) uint8 RGB to crack probability x 255, (N, H, W) uint8, rounded to the nearest."""

    output_names = ("probability",)

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the rounded map."""
        image = tiles.to(torch.float32).permute(0, 3, 1, 2) * (1 / 255)
        probability = self.net(image)[:, 0].sigmoid()
        levels: Tensor = (probability * 255).round().to(torch.uint8)
        return levels


class GateGraph(nn.Module):
    """Reduced tiles (N, h, w, 3) uint8 RGB to crack probability (N,) and margin (N,), float32."""

    output_names = ("probability", "margin")

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability that a tile holds a crack, and the logit of crack minus that of clean."""
        image = tiles.to(torch.float32).permute(0, 3, 1, 2) * (1 / 255)
        logits = self.net(image)
        margin = logits[:, 1] - logits[:, 0]
        return margin.sigmoid(), margin
