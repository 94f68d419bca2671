"""The papers' segmentation networks, narrow enough for a test."""

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
