"""Losses, one file per paper; `build_loss` makes one from its name and parameters in a training file."""

from train.losses.registry import FEATURE_LOSSES, PIXEL_LOSSES, build_loss

__all__ = ["FEATURE_LOSSES", "PIXEL_LOSSES", "build_loss"]
