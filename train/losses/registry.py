"""Losses by name, as a training file's `loss:` section chooses them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from train.losses.adaptive_wce import AdaptiveWCE, Holistic, JaccardDistance
from train.losses.balanced_focal import BalancedFocal
from train.losses.cirl import CIRL
from train.losses.f1_guided import F1, CrossEntropy, Focal, InverseFrequency, PseudoF1
from train.losses.feature_rivals import NNCLR, ArcFace, CentreLoss, CircleLoss, CosFace
from train.losses.gagl import GAGL
from train.losses.overlap import ClDice, Dice, RobustDice
from train.losses.rivals import Poly, RobustT
from train.losses.topology import Topological

if TYPE_CHECKING:
    from torch import nn

    from train.losses.reduce import PixelLoss

# forward(logits (N, 1, H, W), target (N, 1, H, W), ignore: bool (N, 1, H, W) or None) -> scalar
PIXEL_LOSSES: dict[str, type[PixelLoss]] = {
    "cross_entropy": CrossEntropy,
    "adaptive_wce": AdaptiveWCE,
    "jaccard": JaccardDistance,
    "holistic": Holistic,
    "f1": F1,
    "pseudo_f1": PseudoF1,
    "inverse_frequency": InverseFrequency,
    "focal": Focal,
    "balanced_focal": BalancedFocal,
    "dice": Dice,
    "robust_dice": RobustDice,
    "cldice": ClDice,
    "poly": Poly,
    "robust_t": RobustT,
    "topological": Topological,
}
# what needs features, anchors or a second head; each says itself what its forward takes
FEATURE_LOSSES: dict[str, type[nn.Module]] = {
    "cirl": CIRL,
    "gagl": GAGL,
    "centre": CentreLoss,
    "cosface": CosFace,
    "arcface": ArcFace,
    "circle": CircleLoss,
    "nnclr": NNCLR,
}


def build_loss(name: str, **parameters: Any) -> nn.Module:  # noqa: ANN401 - each loss names and types its own
    """Return the loss of that name with these parameters.

    Raises:
        ValueError: no loss has that name, or it does not take these parameters or values.
    """
    known: dict[str, type[nn.Module]] = {**PIXEL_LOSSES, **FEATURE_LOSSES}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of " + ", ".join(sorted(known))
        raise ValueError(f"loss {name!r} is not known; {hint}")
    try:
        return known[name](**parameters)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"loss {name!r}: {exc}") from exc
