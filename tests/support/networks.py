"""The papers' segmentation networks, at the papers' widths and narrow enough for a test."""

from __future__ import annotations

from typing import Any, Final

# name, options, and an extent that the network takes, px
NARROW: Final[list[tuple[str, dict[str, Any], int]]] = [
    ("spiral_net", {"width": 1 / 8}, 256),
    ("spiral_net", {"width": 1 / 8, "depths": [3, 2, 1], "connection": "sum"}, 64),
    ("spiral_net", {"width": 1 / 8, "depths": [2, 2], "connection": "none"}, 64),
    ("vanilla_unet", {"width": 1 / 8}, 256),
    ("revised_unet", {"channels": 8}, 64),
    ("hed", {"width": 1 / 8}, 64),
    ("rcf", {"width": 1 / 8}, 64),
    ("fcn8s", {"width": 1 / 8}, 64),
    ("segnet", {"width": 1 / 8}, 64),
    ("deepcrack", {"width": 1 / 8}, 64),
    ("u_cliquenet", {"growth": 2}, 64),
    ("crackseg", {"width": 32}, 64),
    ("vgg_unet", {"width": 1 / 8}, 64),
    ("modified_unet", {"channels": 4}, 64),
    ("dru", {"channels": 8}, 64),
    ("crackformer", {"width": 1 / 8}, 64),
    ("jtfn", {"width": 1 / 8}, 64),
]

# full width -> parameters; where a paper prints them, to the last digit that it prints
PARAMETERS: Final[list[tuple[str, dict[str, Any], int]]] = [
    ("spiral_net", {}, 41_625_942),  # 39.70 x 2^20, as the paper prints
    ("vanilla_unet", {}, 23_531_074),  # 22.44 x 2^20
    ("revised_unet", {}, 31_031_745),  # 31.03M
    ("revised_unet", {"channels": 32}, 7_760_097),  # 7.76M
    ("hed", {}, 14_716_171),  # 14.72M
    ("rcf", {}, 14_803_781),  # 14.8M
    ("fcn8s", {}, 134_265_699),  # 134.27M
    ("segnet", {}, 29_443_585),  # 29.44M
    ("deepcrack", {}, 29_482_571),  # 29.48M
    ("deeplab_v3_plus", {}, 40_347_041),  # 40.35M
    ("deeplab_v3", {}, 58_625_857),  # the paper prints none
    # reconstructions: what their docstrings say, beside the paper's figure where it prints one
    ("u_cliquenet", {}, 488_925),  # 487.77K
    ("crackseg", {}, 53_006_145),  # 53.87M
    ("vgg_unet", {}, 25_866_945),
    ("modified_unet", {}, 8_633_921),
    ("dru", {}, 33_529_345),
    ("crackformer", {}, 7_779_147),
    ("jtfn", {}, 26_564_290),
]
