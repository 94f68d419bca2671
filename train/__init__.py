"""The workstation: trains segmenters and gates with the losses of the crack papers."""

from __future__ import annotations

from typing import Final

import torch


def _usable_torchvision() -> torch.library.Library | None:
    """Make torchvision importable beside a torch of another build, or leave it as it is.

    A torchvision wheel built for CUDA lacks its compiled operators beside a CPU build of torch and fails while it is
    imported, and lightning and torchmetrics, which import it, fail with it. Nothing here calls the two operators that
    it misses, so they are declared without a body. Only after that one error: beside a matching build a second
    declaration of the namespace would itself be an error.

    Returns:
        The declarations, which last as long as this object does; None where none were needed.
    """
    try:
        import torchvision  # noqa: PLC0415
    except ImportError:
        return None  # not installed: nothing to mend
    except RuntimeError as exc:
        if "operator torchvision::nms does not exist" not in str(exc):
            raise
    else:
        return None
    declared = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    import torchvision  # noqa: F401, PLC0415

    return declared


TORCHVISION_OPERATORS: Final = _usable_torchvision()
"""Kept for as long as the process runs; None where torchvision came with operators of its own, or not at all."""
