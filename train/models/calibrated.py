"""A network with its calibration behind it, as it ships: see `train.calibration`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class Calibrated(nn.Module):
    """Calibrated logits of a segmenter; numbers that the graph holds, not weights.

    Args:
        net: the segmenter.
        scale: see `train.calibration.Calibration`, as the others.
        bias: see there.
        knots: see there.
        bends: see there.
    """

    def __init__(
        self, net: nn.Module, *, scale: float, bias: float, knots: Sequence[float] = (), bends: Sequence[float] = ()
    ) -> None:
        super().__init__()
        self.net = net
        self.stride_px = cast("int", net.stride_px)
        self.receptive_field_px = cast("int | None", net.receptive_field_px)
        self._scale, self._bias = scale, bias
        self._bends = tuple(zip(knots, bends, strict=True))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) of an image (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.net(image)
        found = logits * self._scale + self._bias
        for knot, bend in self._bends:
            found = found + F.relu(logits - knot) * bend
        return found
