"""Designs of networks that were tried, and what each was tried for; `bench_networks` lays their cost side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A network by name and options."""

    tried_for: str
    model: str = "rep_unet"
    options: dict[str, Any] = field(default_factory=dict)


_FIVE: Final[dict[str, Any]] = {"widths": [24, 32, 48, 64, 96], "depths": [1, 1, 2, 1]}
_FOUR: Final[dict[str, Any]] = {"widths": [24, 40, 64, 96], "depths": [1, 1, 1], "merges": [1, 1, 1]}

SEGMENTERS: Final[dict[str, Design]] = {
    "half_res_unet": Design(model="half_res_unet", tried_for="what the first default bundle held"),
    "half_res_unet-thin": Design(
        model="half_res_unet", options={"widths": [16, 32, 48, 64, 96]}, tried_for="16 channels where they cost most"
    ),
    "plain": Design(options={**_FIVE, "branches": False}, tried_for="one branch each: the others' worth"),
    "rep": Design(options=_FIVE, tried_for="re-parameterised branches; one convolution each when shipped"),
    "rep-nearest": Design(options={**_FIVE, "up": "nearest"}, tried_for="levels doubled by repeating pixels"),
    "dilated": Design(options={**_FIVE, "dilations": [2, 4]}, tried_for="context without a further level"),
    "detail": Design(
        options={**_FIVE, "dilations": [2, 4], "detail": 1, "acnet": True},
        tried_for="a branch that stays at half resolution, strips of 1 x 3 and 3 x 1 in training",
    ),
    "strips": Design(
        options={**_FIVE, "dilations": [2], "strip_px": 9}, tried_for="1 x 9 and 9 x 1 at 1/16: long thin curves"
    ),
    "thin": Design(
        options={"widths": [16, 32, 48, 64, 96], "depths": [1, 2, 2, 1], "dilations": [2, 4]},
        tried_for="16 channels at half resolution, depth below",
    ),
    "four-levels": Design(options={**_FOUR, "dilations": [2, 4, 2]}, tried_for="wider and one level less"),
    "quarter": Design(
        options={
            "widths": [16, 48, 64, 96],
            "depths": [2, 2, 1],
            "merges": [1, 2, 1],
            "dilations": [2, 4],
            "finest": 1,
        },
        tried_for="a way up that ends at 1/4, sixteen sub-pixels",
    ),
}
GATES: Final[dict[str, Design]] = {
    "patch_gate": Design(model="patch_gate", tried_for="what the first default bundle held"),
    "small": Design(
        model="patch_gate",
        options={"widths": [24, 40, 64, 96], "stem_width": 12, "stem_depth": 1},
        tried_for="a tenth of a segmenter of half the yardstick's cost",
    ),
}
SHIPS: Final = ("half_res_unet-thin", "small")  # of the plans in configs/train/ship
