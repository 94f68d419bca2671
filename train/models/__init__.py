"""The networks, chosen by name in a settings file."""

from __future__ import annotations

from train.models.registry import MODELS, CrackNet, build

__all__ = ["MODELS", "CrackNet", "build"]
