from __future__ import annotations

import pytest

from train.losses import FEATURE_LOSSES, PIXEL_LOSSES, build_loss
from train.losses.adaptive_wce import Holistic


@pytest.mark.parametrize(
    ("wrong", "near"), [("holistc", "holistic"), ("pseudo-f1", "pseudo_f1"), ("BalancedFocal", "balanced_focal")]
)
def test_a_misspelt_name_gets_a_suggestion(wrong: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"loss '{wrong}' is not known; did you mean '{near}'"):
        build_loss(wrong)


def test_a_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(ValueError, match=r"choose one of adaptive_wce, .*robust_t"):
        build_loss("zzz")


def test_a_value_out_of_range_is_refused_when_the_loss_is_built() -> None:
    with pytest.raises(ValueError, match="loss 'holistic': beta=3 must lie in"):
        build_loss("holistic", beta=3)


def test_a_loss_prints_its_parameters() -> None:
    loss = build_loss("holistic", a=0.5, beta=0.75)
    assert isinstance(loss, Holistic)
    assert repr(loss) == "Holistic(a=0.5, beta=0.75)"


def test_a_name_stands_for_one_loss() -> None:
    assert not PIXEL_LOSSES.keys() & FEATURE_LOSSES.keys()
