"""Gradient checkpointing: what lies inside a network's blocks is computed again for the gradient instead of kept.

Paper: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv:1604.06174. A block is a module of at
most sqrt(n) of the network's n layers, so that what is kept between blocks and what is recomputed within one are of the
same order. About a third more arithmetic for a step.

The second computation changes nothing but the gradient: random numbers are drawn again as they were (dropout), and
running statistics are set aside, or batch normalisation would count each batch twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_NEVER_CALLED: Final = (nn.ModuleList, nn.ModuleDict)  # containers, unless a class of their own makes them more


def recompute_blocks(net: nn.Module) -> int:
    """Let a network, in place, keep no more than its blocks' inputs while it learns; return how many blocks there are.

    Names, weights and answers stay as they are, and so does all that is computed without gradients.

    Args:
        net: any network; a block must be called like a function, and may not change its inputs.
    """
    return _divided(net, math.ceil(math.sqrt(_layers(net))), whole=False)


class _Recomputed:
    """In the place of a module's forward: what it computes, kept no longer than the call.

    Args:
        compute: of a block.
        parts: the modules that it calls, whose buffers a second call may not change.
    """

    def __init__(self, compute: Callable[..., Any], parts: Sequence[nn.Module]) -> None:
        self._compute, self._parts = compute, parts

    def __call__(self, *inputs: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the block is given and gives
        if not torch.is_grad_enabled():
            return self._compute(*inputs, **named)
        return checkpoint(self._compute, *inputs, use_reentrant=False, context_fn=self._contexts, **named)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _buffers_set_aside(self._parts)


class _InTurn:
    """In the place of a Sequential's forward: its children one after the other, in runs that are blocks or single."""

    def __init__(self, runs: Sequence[Callable[[Any], Any]]) -> None:
        self._runs = runs

    def __call__(self, x: Any) -> Any:  # noqa: ANN401 - whatever the first child takes
        for run in self._runs:
            x = run(x)
        return x


@contextmanager
def _buffers_set_aside(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Let modules work on copies of their buffers, and give them back their own."""
    own = [(module, name, buffer) for part in parts for module in part.modules() for name, buffer in _buffers(module)]
    for module, name, buffer in own:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in own:
            setattr(module, name, buffer)


def _buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    return list(module.named_buffers(recurse=False))


def _layers(module: nn.Module) -> int:
    return sum(not any(True for _ in part.children()) for part in module.modules())


def _divided(module: nn.Module, most: int, *, whole: bool = True) -> int:
    """Make blocks of a module: itself if it has few layers, else of its parts, else itself after all if it may."""
    called = type(module) not in _NEVER_CALLED
    if not any(True for _ in module.children()):
        return 0  # a single layer keeps its input in any case
    if whole and called and _layers(module) <= most:
        module.forward = _Recomputed(module.forward, [module])
        return 1
    if type(module) is nn.Sequential:
        return _divided_in_turn(module, most)
    blocks = sum(_divided(child, most) for child in module.children())
    if blocks or not whole or not called:
        return blocks
    module.forward = _Recomputed(module.forward, [module])
    return 1


def _divided_in_turn(module: nn.Sequential, most: int) -> int:
    """Make blocks of a Sequential's children: runs of small ones, and parts of large ones."""
    blocks = 0
    runs: list[Callable[[Any], Any]] = []
    small: list[nn.Module] = []

    def close() -> int:
        if len(small) > 1 or (small and _layers(small[0]) > 1):
            runs.append(_Recomputed(_InTurn(tuple(small)), tuple(small)))
            made = 1
        else:
            runs.extend(small)
            made = 0
        small.clear()
        return made

    for child in module:
        layers = _layers(child)
        # one that overwrites its input would destroy what a block keeps: it stays behind the layer before it
        overwrites = bool(getattr(child, "inplace", False))
        if small and not overwrites and sum(map(_layers, small)) + layers > most:
            blocks += close()
        if layers > most:
            blocks += _divided(child, most)
            runs.append(child)
        else:
            small.append(child)
    blocks += close()
    module.forward = _InTurn(tuple(runs))  # type: ignore[method-assign]
    return blocks
