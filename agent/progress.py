"""Progress on a terminal, and none when piped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance: TypeAlias = Callable[[], None]


@contextmanager
def bar(label: str, total: int | None, *, shown: bool) -> Iterator[Advance]:
    """Show a bar on stderr while the block runs; call what it gives after each step.

    Args:
        label: what is counted.
        total: how many steps; None where nobody knows.
        shown: False shows nothing.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task(label, total=total)
        yield lambda: progress.advance(task)
