"""clDice: how well the centre lines agree, so that a gap in a crack costs what its length is worth.

Paper: Shit et al., CVPR 2021, arXiv:2003.07311, equations (1) to (3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.morphology import skeletonize

if TYPE_CHECKING:
    from agent.contract.arrays import Bool
    from train.metrics.pixels import Counts


def cldice_counts(predicted: Bool, truth: Bool, ignore: Bool | None = None) -> Counts:
    """Return the counts of one image as (4, 1), to be read by `pixels.precision_recall_f1`, whose F1 is clDice.

    Precision is the share of the predicted skeleton inside the truth, recall (the paper's sensitivity) the share of the
    truth's skeleton inside the prediction. Where both are empty clDice is undefined (NaN); where one is, it is 0.

    Args:
        predicted: (H, W), True is called crack.
        truth: (H, W), True is crack.
        ignore: (H, W), skeleton pixels that count nowhere. The skeletons are drawn from the whole masks, so that a
            border of the ignored part bends no centre line.
    """
    counted = np.True_ if ignore is None else ~ignore
    predicted_line = _skeleton(predicted) & counted
    truth_line = _skeleton(truth) & counted
    pairs = (predicted_line & truth, predicted_line, truth_line & predicted, truth_line)
    return np.array([[np.count_nonzero(mask)] for mask in pairs], np.int64)


def _skeleton(mask: Bool) -> Bool:
    return np.asarray(skeletonize(mask), np.bool_)  # type: ignore[no-untyped-call]
