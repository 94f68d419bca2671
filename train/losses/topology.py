"""TopoNet's loss: cross-entropy, and a price on pieces and holes that the truth does not have, or lacks.

Paper: Hu et al., "Topology-Preserving Deep Image Segmentation", NeurIPS 2019, arXiv:1906.05404, equations (3.1) to
(3.3); a rival in the CIRL paper's table 2. Lower a threshold from 1 to 0: pieces of crack are born at a pixel and die
where they meet an older piece, holes are born where a loop closes and die where the last pixel in it is filled. A
binary truth has all its pieces and holes at (birth 1, death 0). The best matching moves as many of the prediction's
there as the truth has, as far as that is nearer than the diagonal, and the rest to the diagonal, where birth is death.

Pieces are joined over 8 neighbours, holes over 4, and beyond a patch's border there is no crack. Departures: the mean
over patches and images, so that the weight keeps its meaning; an ignored pixel is no crack; points that no better
match than the diagonal is found for go there.

What a matching is made of is found in Python on the CPU: about 60 ms for a patch of 65 px, a second for a batch of two
crops of 256 px. The gradient reaches the pixels at which pieces and holes are born and die.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from train.losses.reduce import PixelLoss, over_ranks, pixels, reduced, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from agent.contract.arrays import Bool, Float64

_FOUR: Final = ((-1, 0), (0, -1), (0, 1), (1, 0))
_EIGHT: Final = (*_FOUR, (-1, -1), (-1, 1), (1, -1), (1, 1))
NOWHERE: Final = -1  # in place of a pixel: at threshold 0, or outside


def topological(
    logits: Tensor,
    target: Tensor,
    ignore: Tensor | None = None,
    *,
    weight: float = 0.01,
    patch_px: int = 65,
) -> Tensor:
    """Return the mean cross-entropy + weight times the mean over patches of the matching's squared way, scalar, >= 0.

    Args:
        logits: (N, 1, H, W), any range, before the sigmoid.
        target: (N, 1, H, W), 0 background, 1 crack.
        ignore: (N, 1, H, W) bool, True where a pixel counts for nothing, or None.
        weight: lambda, >= 0.
        patch_px: edge of the patches in which pieces and holes are counted, 65 in the paper; the last ones are smaller.

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    require(weight >= 0, f"weight={weight} must not be negative")
    require(patch_px >= 2, f"patch_px={patch_px} must be 2 or more")
    batch = pixels(logits, target, ignore)
    likely = reduced(batch.cross_entropy(), batch)
    if logits.is_meta:
        return likely
    probability = batch.keep(batch.logits.sigmoid())[:, 0]
    order = (
        batch.logits[:, 0] if batch.valid is None else batch.logits[:, 0].masked_fill(batch.valid[:, 0] == 0, -np.inf)
    )
    ranks, truth = order.detach().cpu().double().numpy(), batch.target[:, 0].detach().cpu().numpy() > 0
    height, width = logits.shape[-2:]
    ways, patches = [probability.new_zeros(())], 0
    for image in range(len(logits)):
        for y in range(0, height, patch_px):
            for x in range(0, width, patch_px):
                part = (image, slice(y, y + patch_px), slice(x, x + patch_px))
                ways.append(_way(probability[part], ranks[part], truth[part]))
                patches += 1
    total, count = over_ranks(torch.stack(ways).sum(), probability.new_tensor(patches))
    return likely + weight * total / count


def pieces(height: Float64) -> NDArray[np.int64]:
    """Return where pieces are born and die as the threshold falls, (P, 2) flat indices, 8 neighbours.

    The piece that is born first never dies: its death is `NOWHERE`. Pieces that die at once are left out.

    Args:
        height: (H, W), any values in the order of the probabilities.
    """
    return _merged(-height, _EIGHT, outside=False)


def holes(height: Float64) -> NDArray[np.int64]:
    """Return where holes are born and die as the threshold falls, (P, 2) flat indices, 4 neighbours.

    A hole is what a lake of low values is to its rim, so holes are the pieces of what is below the threshold, followed
    as it rises; those that the border touches belong to the outside, which was always there.
    """
    found = _merged(height, _FOUR, outside=True)
    return found[:, ::-1]  # the lowest pixel is where the hole dies, the pass over the rim where it is born


def _way(probability: Tensor, ranks: Float64, truth: Bool) -> Tensor:
    """Return the squared way of a patch's matching, pieces and holes together."""
    flat = torch.cat([probability.flatten(), probability.new_zeros(1)])  # index NOWHERE is the last: 0
    ways = []
    for find, dual in ((pieces, False), (holes, True)):
        places = torch.from_numpy(find(ranks).copy()).to(flat.device)
        birth, death = flat[places[:, 0]], flat[places[:, 1]]
        wanted = _count(truth, dual=dual)
        there, diagonal = (birth - 1).square() + death.square(), (birth - death).square() / 2
        # a point of the truth that is matched by none goes to the diagonal, too, at a price of 1/2
        saved = (diagonal + 0.5 - there).detach()
        matched = torch.zeros_like(saved, dtype=torch.bool)
        matched[saved.argsort(descending=True, stable=True)[:wanted]] = True
        matched &= saved > 0
        ways += [torch.where(matched, there, diagonal).sum(), 0.5 * (wanted - matched.sum()).to(flat.dtype)]
    return torch.stack(ways).sum()


def _count(truth: Bool, *, dual: bool) -> int:
    """Return how many pieces, or holes, a binary truth has."""
    return len((holes if dual else pieces)(truth.astype(np.float64))) if truth.any() else 0


def _merged(depth: Float64, neighbours: tuple[tuple[int, int], ...], *, outside: bool) -> NDArray[np.int64]:
    """Return (lowest pixel, pixel of the merger) of each basin that water, as it rises, joins to a lower one."""
    flat = depth.ravel()
    order = np.argsort(flat, kind="stable")
    beyond = flat.size  # stands for the outside, lower than all
    root = [NOWHERE] * flat.size + [beyond]
    when = dict(zip(order.tolist(), range(flat.size), strict=True))  # of equals, the first is the lower
    when[beyond] = NOWHERE
    found: list[tuple[int, int]] = []

    def basin(pixel: int) -> int:
        while root[pixel] != pixel:
            root[pixel] = root[root[pixel]]
            pixel = root[pixel]
        return pixel

    for pixel in order.tolist():
        root[pixel] = pixel
        for other in _beside(pixel, depth.shape, neighbours, beyond if outside else None):
            if root[other] == NOWHERE:
                continue
            lower, higher = sorted((basin(pixel), basin(other)), key=when.__getitem__)
            if lower != higher:
                root[higher] = lower
                if flat[higher] < flat[pixel]:
                    found.append((higher, pixel))
    if not outside:
        found.append((int(order[0]), NOWHERE))
    return np.array(found, np.int64).reshape(-1, 2)


def _beside(
    pixel: int, shape: tuple[int, ...], neighbours: tuple[tuple[int, int], ...], beyond: int | None
) -> Iterator[int]:
    """Yield a pixel's neighbours, and `beyond`, if given, where there are none."""
    row, column = divmod(pixel, shape[1])
    for dy, dx in neighbours:
        y, x = row + dy, column + dx
        if 0 <= y < shape[0] and 0 <= x < shape[1]:
            yield y * shape[1] + x
        elif beyond is not None:
            yield beyond


class Topological(PixelLoss):
    """`topological` with its parameters."""

    function = staticmethod(topological)
