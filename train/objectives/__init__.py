"""What a network is trained for, by the name of its loss."""

from train.objectives.base import Moment, Objective
from train.objectives.registry import build_network, build_objective
from train.objectives.segment import boundary

__all__ = ["Moment", "Objective", "boundary", "build_network", "build_objective"]
