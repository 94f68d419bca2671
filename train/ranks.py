"""Which of the processes of a run this one is: `torchrun` says so in the environment."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def leaving_together(place: Place) -> Iterator[None]:
    """Dissolve the processes' group once each has come to the end, and its threads with it.

    A thread of the group that still lets go of a tensor while the interpreter shuts down would abort the process.
    """
    try:
        yield
        if place.processes > 1:
            dist.barrier()
    finally:
        if dist.is_initialized():
            gc.collect()  # what wraps the network for the group holds it too
            dist.destroy_process_group()
