"""Runs a function in real processes that share a gloo group, as data-parallel training does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import distributed as dist
from torch.multiprocessing.spawn import spawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run_in_processes(function: Callable[[int, int, Path], None], folder: Path, *, processes: int = 2) -> None:
    """Call function(rank, processes, folder) in each process; an exception in one fails the caller.

    Args:
        function: at the top level of its module, so that the processes can import it.
        folder: where the group meets and the processes leave their results.
        processes: how many.
    """
    spawn(_one_process, args=(function, folder, processes), nprocs=processes)  # type: ignore[no-untyped-call]


def _one_process(rank: int, function: Callable[[int, int, Path], None], folder: Path, processes: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=(folder / "meeting_point").as_uri(), rank=rank, world_size=processes)
    try:
        function(rank, processes, folder)
    finally:
        dist.destroy_process_group()
