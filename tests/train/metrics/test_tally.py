from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from train.metrics.pixels import STRICT, flex, level_of, tolerance
from train.metrics.tally import DEFINITIONS, PixelTally

if TYPE_CHECKING:
    from agent.contract.arrays import Bool, UInt8

Case = tuple["UInt8", "Bool"]


@pytest.fixture
def cases() -> list[Case]:
    """Images of several sizes: with cracks, and one without."""
    rng = np.random.default_rng(1)
    drawn = []
    for index in range(6):
        truth = rng.random((20 + index, 30)) < (0.02 * index)
        noise = rng.normal(0.3 + 0.3 * truth, 0.2).clip(0, 1)
        drawn.append((np.rint(noise * 255).astype(np.uint8), truth))
    return drawn


def tally_of(cases: list[Case]) -> PixelTally:
    tally = PixelTally((STRICT, flex(2), tolerance(2)))
    for probability, truth in cases:
        tally.update(probability, truth)
    return tally


def values(tally: PixelTally, threshold: float = 0.5) -> dict[str, Any]:
    return {name: figure.value for name, figure in tally.compute(threshold=threshold).items()}


def best_over_levels(cases: list[Case]) -> tuple[float, int]:
    """Best pooled F1 of some images by trying every level with scikit-learn."""
    truth = np.concatenate([t.ravel() for _, t in cases])
    probability = np.concatenate([p.ravel() for p, _ in cases])
    scores = [f1_score(truth, probability >= level, zero_division=0) for level in range(1, 256)]
    return max(scores), int(np.argmax(scores)) + 1


def test_pooled_figures_are_scikit_learns_on_all_pixels_together(cases: list[Case]) -> None:
    truth = np.concatenate([t.ravel() for _, t in cases])
    probability = np.concatenate([p.ravel() for p, _ in cases])
    got = values(tally_of(cases), threshold=0.4)
    assert got["strict.f1"] == pytest.approx(f1_score(truth, probability >= 102))
    assert got["strict.ap"] == pytest.approx(average_precision_score(truth, probability))
    best, _ = best_over_levels(cases)
    assert got["strict.ods"] == pytest.approx(best)
    assert f1_score(truth, probability >= level_of(got["strict.ods_threshold"])) == pytest.approx(best)


def test_per_image_figures_are_means_over_the_images_with_a_crack(cases: list[Case]) -> None:
    got = values(tally_of(cases))
    cracked = [(p, t) for p, t in cases if t.any()]
    assert len(cracked) < len(cases)
    f1 = [f1_score(t.ravel(), p.ravel() >= 128, zero_division=0) for p, t in cracked]
    ap = [average_precision_score(t.ravel(), p.ravel()) for p, t in cracked]
    best = [best_over_levels([case])[0] for case in cracked]
    assert got["strict.per_image_f1"] == pytest.approx(np.mean(f1))
    assert got["strict.per_image_ap"] == pytest.approx(np.mean(ap))
    assert got["strict.ois_mean"] == pytest.approx(np.mean(best))
    assert got["strict.ois_std"] == pytest.approx(np.std(best))
    assert got["strict.f1"] != pytest.approx(got["strict.per_image_f1"])


def test_pooled_ois_pools_each_images_counts_at_its_own_best_threshold() -> None:
    # Two images whose best thresholds differ: each is perfect at its own, no common one is.
    truth = np.zeros((1, 10), bool)
    truth[0, :4] = True
    bright = np.where(truth, 250, 100).astype(np.uint8)
    dark = np.where(truth, 90, 10).astype(np.uint8)
    got = values(tally_of([(bright, truth), (dark, truth)]))
    assert got["strict.ois_pooled"] == 1
    assert got["strict.ois_mean"] == 1
    assert got["strict.ods"] == pytest.approx(best_over_levels([(bright, truth), (dark, truth)])[0])
    assert got["strict.ods"] < 1


def test_false_pixels_of_a_clean_image_lower_pooled_figures_and_leave_means_over_images(cases: list[Case]) -> None:
    with_clean, cracked = values(tally_of(cases)), values(tally_of([case for case in cases if case[1].any()]))
    for matching in ("strict", "flex(2)", "tolerance(2)"):
        assert with_clean[f"{matching}.ods"] < cracked[f"{matching}.ods"]
        assert with_clean[f"{matching}.f1"] < cracked[f"{matching}.f1"]
        assert with_clean[f"{matching}.ois_mean"] == pytest.approx(cracked[f"{matching}.ois_mean"])
        assert with_clean[f"{matching}.per_image_f1"] == pytest.approx(cracked[f"{matching}.per_image_f1"])


def test_parts_computed_apart_add_up_to_the_whole_in_any_order(cases: list[Case]) -> None:
    whole = values(tally_of(cases))
    parts = tally_of(cases[4:]) + tally_of([]) + tally_of(cases[:4])
    assert len(parts) == len(cases)
    assert values(parts) == pytest.approx(whole, abs=1e-12)


def test_parts_counted_by_other_rules_are_not_added() -> None:
    with pytest.raises(ValueError, match=r"tolerance\(3\)"):
        PixelTally() + PixelTally((STRICT, tolerance(3)))


def test_adding_leaves_both_parts_as_they_were(cases: list[Case]) -> None:
    first, second = tally_of(cases[:2]), tally_of(cases[2:])
    both = first + second
    both.update(*cases[0])
    assert (len(first), len(second), len(both)) == (2, 4, 7)


def test_no_images_and_no_cracks_give_no_figures_rather_than_numbers() -> None:
    assert set(values(tally_of([])).values()) == {None}
    clean = values(tally_of([(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool))]))
    assert set(clean.values()) == {None}


def test_false_pixels_on_a_set_without_cracks_score_zero_not_none() -> None:
    got = values(tally_of([(np.full((4, 4), 255, np.uint8), np.zeros((4, 4), bool))]))
    assert (got["strict.f1"], got["strict.precision"], got["strict.ods"]) == (0, 0, 0)
    assert (got["strict.recall"], got["strict.ap"], got["strict.per_image_f1"]) == (None, None, None)


def test_the_state_is_some_kilobytes_per_image_whatever_its_size() -> None:
    tally = PixelTally()
    tally.update(np.zeros((1000, 1000), np.uint8), np.zeros((1000, 1000), bool))
    assert tally.counts(STRICT).nbytes == 4096


def test_every_figure_names_its_definition(cases: list[Case]) -> None:
    names = {name.split(".", 1)[1] for name in tally_of(cases).compute()}
    assert names == set(DEFINITIONS)
