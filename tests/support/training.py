"""Photos and settings for training tests: small, drawn at test time, and real to the code under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from agent.contract.arrays import Bool, UInt8
from train.settings import Settings


def cracked_photo(seed: int, edge: int = 64) -> tuple[UInt8, Bool]:
    """Return a grainy grey picture with a dark line across it, and the line's mask."""
    rng = np.random.default_rng(seed)
    image = np.clip(rng.normal(150, 12, (edge, edge, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros((edge, edge), np.uint8)
    ends = rng.integers(edge // 8, edge - edge // 8, size=2)
    cv2.line(mask, (0, int(ends[0])), (edge - 1, int(ends[1])), 1, 3)
    image[mask > 0] = image[mask > 0] // 3
    return image, mask > 0


def write_pairs(folder: Path, count: int, edge: int = 64) -> Path:
    """Write `count` photos and masks, numbered from 1 in steps of 20."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        image, mask = cracked_photo(index, edge)
        stem = f"p{1 + 20 * index:04d}"
        cv2.imwrite(str(folder / "images" / f"{stem}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / "masks" / f"{stem}.png"), mask.astype(np.uint8) * 255)
    return folder


def write_classes(folder: Path, count: int, edge: int = 64) -> Path:
    """Write `count` photos with a crack and as many without."""
    for kind in ("crack", "clean"):
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = cracked_photo(100 + index, edge)
            if kind == "clean":
                image[mask] = 150
            cv2.imwrite(str(folder / kind / f"{1 + index:05d}.png"), image[..., ::-1])
    return folder


def tiny_settings(root: Path, out: Path, *, task: str = "segment", **changes: Any) -> Settings:
    """Return a run of seconds on the folders `pairs` and `classes` of `root`."""
    raw: dict[str, Any] = {
        "name": "tiny",
        "task": task,
        "seed": 7,
        "out": out,
        "data": {
            "root": root,
            "crop_px": 32,
            "sources": [
                {"kind": "rendered", "count": 4, "size_px": 64, "weight": 1, "validation": 0.25},
                {
                    "kind": "pairs",
                    "name": "pairs",
                    "folder": "pairs",
                    "weight": 1,
                    "validation": 0.3,
                    "licence": "none",
                },
                {
                    "kind": "classes",
                    "name": "classes",
                    "folder": "classes",
                    "weight": 1,
                    "validation": 0.3,
                    "licence": "n",
                },
            ],
        },
        "model": {"name": "half_res_unet", "options": {"widths": [4, 4, 4]}},
        "loss": {"name": "holistic"},
        "optimiser": {"batch": 2, "epochs": 2, "steps_per_epoch": 3, "learning_rate": 0.01},
        "compute": {"accelerator": "cpu", "threads": 1},
        "gate": {"tile_px": 64, "downscale": 2, "min_crack_px": 4},
    }
    if task == "gate":
        raw |= {"model": {"name": "patch_gate", "options": {"widths": [4, 4]}}, "loss": {"name": "cross_entropy"}}
    return Settings.model_validate({**raw, **changes})
