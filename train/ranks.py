"""Which of the processes of a run this one is: `torchrun` says so in the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from torch import distributed as dist


@dataclass(frozen=True, slots=True)
class Place:
    """A process among those that share a run."""

    rank: int = 0
    processes: int = 1  # in all
    here: int = 1  # on this machine

    @property
    def first(self) -> bool:
        """Whether this process writes what there is one of."""
        return self.rank == 0


def this_process() -> Place:
    """Return where this process stands; alone, unless `torchrun` started it."""
    if not dist.is_available() or not dist.is_torchelastic_launched():
        return Place()
    rank, processes, here = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return Place(rank, processes, here)
