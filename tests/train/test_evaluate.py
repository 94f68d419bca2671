from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_score, recall_score

from agent.errors import InferenceError, InputError
from train.evaluate import Evaluation, Patch, Sample, evaluate_gate, evaluate_segmentation, render
from train.metrics.pixels import flex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.contract.arrays import Bool, UInt8

LINE = np.zeros((40, 60), bool)
LINE[20, 5:55] = True
CLEAN = np.zeros((40, 60), bool)


def darkness(image: UInt8) -> UInt8:
    """A predictor: dark pixels are crack."""
    return 255 - image[..., 0]


def photo(dark: Bool) -> UInt8:
    return np.repeat(np.where(dark, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def sample(name: str, dark: Bool, truth: Bool | None, mm_per_px: float | None = None) -> Sample:
    return Sample(name=name, load=lambda: (photo(dark), truth), mm_per_px=mm_per_px)


def unreadable(name: str) -> Sample:
    def load() -> tuple[UInt8, Bool | None]:
        raise InputError(f"{name}: truncated JPEG; copy it again")

    return Sample(name=name, load=load)


def test_a_perfect_predictor_scores_one_by_every_definition() -> None:
    got = evaluate_segmentation(darkness, [sample("a", LINE, LINE), sample("b", LINE.T, LINE.T)], resamples=50)
    for name in ("strict.f1", "strict.ods", "tolerance(2).ods", "strict.ap", "strict.ois_mean", "strict.ois_pooled"):
        assert (got[name].value, got[name].low, got[name].high) == (1, 1, 1), name
    assert got["cldice"].value == 1
    assert (got.images, got.images_with_crack, got.images_clean, got.failures) == (2, 2, 0, ())


def test_a_shift_of_two_pixels_is_forgiven_by_tolerance_and_not_by_strict() -> None:
    got = evaluate_segmentation(darkness, [sample("a", np.roll(LINE, 2, axis=0), LINE)], matchings=[flex(2)])
    assert got["flex(2).f1"].value == pytest.approx(2 / 3)
    got = evaluate_segmentation(darkness, [sample("a", np.roll(LINE, 2, axis=0), LINE)])
    assert got["tolerance(2).f1"].value == 1
    assert got["strict.f1"].value == 0
    assert got["cldice"].value == 0


def test_what_cannot_be_read_or_inferred_is_named_and_the_rest_is_judged() -> None:
    def picky(image: UInt8) -> UInt8:
        if image.shape[0] == 60:
            raise InferenceError("the network failed")
        return darkness(image)

    samples = [
        unreadable("broken.jpg"),
        sample("a", LINE, LINE),
        sample("tall", LINE.T, LINE.T),
        sample("turned mask", LINE, LINE.T),
        Sample(name="gone", load=lambda: (np.fromfile("no such file", np.uint8), None)),
        sample("b", LINE, LINE),
    ]
    got = evaluate_segmentation(picky, samples)
    assert [failure.name for failure in got.failures] == ["broken.jpg", "tall", "turned mask", "gone"]
    assert "truncated" in got.failures[0].reason
    assert "(40, 60)" in got.failures[2].reason
    assert "(60, 40)" in got.failures[2].reason
    assert (got.images, got["strict.f1"].value) == (2, 1)


def test_a_predictor_that_breaks_its_contract_stops_the_run() -> None:
    with pytest.raises(ValueError, match="a: the predictor gave uint8"):
        evaluate_segmentation(lambda image: image[:5, :5, 0], [sample("a", LINE, LINE)])


def test_false_cracks_are_counted_on_images_whose_truth_is_empty_only() -> None:
    speck = CLEAN.copy()
    speck[3, 3:10] = True  # 7 px
    two = LINE | np.roll(LINE, 10, axis=0)
    samples = [
        sample("nothing", CLEAN, CLEAN, mm_per_px=10),
        sample("two", two, CLEAN, mm_per_px=10),
        sample("two on a surface of unknown scale", two, CLEAN),
        sample("speck", speck, CLEAN),
        sample("crack", two, LINE, mm_per_px=10),
    ]
    got = evaluate_segmentation(darkness, samples)
    assert got.images_clean == 4
    assert got["false_cracks_per_clean_image"].value == pytest.approx(4 / 4)
    assert got["clean_images_with_false_cracks"].value == pytest.approx(2 / 4)
    assert got["fa_per_m2"].value == pytest.approx(2 / (2 * 0.40 * 0.60))
    assert "20 px" in got["fa_per_m2"].definition
    small = evaluate_segmentation(darkness, samples, min_crack_px=7)
    assert small["false_cracks_per_clean_image"].value == pytest.approx(5 / 4)


def test_images_without_a_mask_are_counted_apart_and_change_no_figure() -> None:
    got = evaluate_segmentation(darkness, [sample("a", LINE, LINE), sample("no mask", LINE.T, None)])
    alone = evaluate_segmentation(darkness, [sample("a", LINE, LINE)])
    assert (got.images, got.images_without_truth) == (2, 1)
    assert got.metrics == alone.metrics


def test_where_nothing_was_judged_there_are_reasons_and_no_numbers() -> None:
    got = evaluate_segmentation(darkness, [unreadable("a"), unreadable("b")])
    assert {metric.value for metric in got.metrics} == {None}
    assert len(got.failures) == 2
    assert got.curves == ()


def test_samples_are_loaded_one_at_a_time() -> None:
    alive = 0

    def samples() -> Iterator[Sample]:
        for index in range(3):
            assert alive == index  # the one before was judged before this one is asked for
            yield sample(str(index), LINE, LINE)

    def counting(image: UInt8) -> UInt8:
        nonlocal alive
        alive += 1
        return darkness(image)

    evaluate_segmentation(counting, samples())
    assert alive == 3


def test_json_holds_the_whole_evaluation_and_names_each_definition() -> None:
    got = evaluate_segmentation(darkness, [sample("a", LINE, LINE), unreadable("b")], threshold=0.3)
    text = got.model_dump_json()
    assert Evaluation.model_validate_json(text) == got
    plain = json.loads(text)
    assert plain["threshold"] == 0.3
    assert all(metric["definition"] for metric in plain["metrics"])


def test_the_table_shows_every_figure_and_every_failure() -> None:
    got = evaluate_segmentation(darkness, [sample("a", LINE, LINE), sample("b", CLEAN, CLEAN), unreadable("[red]c")])
    out = io.StringIO()
    Console(file=out, width=200).print(render(got))
    text = out.getvalue()
    for metric in got.metrics:
        assert metric.name in text
    assert "2 images: 1 with cracks, 1 clean" in text
    assert "1.0000 to 1.0000" in text
    assert "tolerance(2): predicted pixels within 2 px of truth" in text
    assert "[red]c: [red]c: truncated JPEG" in text


def test_an_unknown_metric_names_those_there_are() -> None:
    got = evaluate_segmentation(darkness, [sample("a", LINE, LINE)])
    with pytest.raises(KeyError, match=r"strict\.ods"):
        got["f1"]


@pytest.mark.parametrize("threshold", [0.5, 0.31, 102 / 255])
def test_gate_figures_are_scikit_learns(threshold: float) -> None:
    rng = np.random.default_rng(0)
    crack = rng.random(300) < 0.4
    # on the grid, so that average precision is exact; images carry their probability in their first pixel
    levels = np.rint(rng.normal(90 + 60 * crack, 40).clip(0, 255)).astype(np.uint8)
    pictures = [np.full((2, 2, 3), level, np.uint8) for level in levels]
    patches = [
        Patch(name=str(index), crack=bool(crack[index]), load=picture.copy) for index, picture in enumerate(pictures)
    ]
    got = evaluate_gate(lambda image: float(image[0, 0, 0]) / 255, patches, threshold=threshold)
    called = levels / 255 >= threshold
    assert got["gate.error_rate"].value == pytest.approx(1 - accuracy_score(crack, called))
    assert got["gate.f1"].value == pytest.approx(f1_score(crack, called))
    assert got["gate.precision"].value == pytest.approx(precision_score(crack, called))
    assert got["gate.recall"].value == pytest.approx(recall_score(crack, called))
    assert got["gate.missed"].value == pytest.approx(1 - recall_score(crack, called))
    assert got["gate.false_alarms"].value == pytest.approx((called & ~crack).sum() / (~crack).sum())
    assert got["gate.ap"].value == pytest.approx(average_precision_score(crack, levels))
    error = got["gate.error_rate"]
    assert error.value is not None
    assert error.low is not None
    half = 1.96 * np.sqrt(error.value * (1 - error.value) / 300)
    assert error.value - error.low == pytest.approx(half, rel=0.15)
    assert (got.kind, got.images, got.images_with_crack) == ("gate", 300, crack.sum())


def test_a_gate_never_shown_a_crack_has_no_recall_and_a_patch_that_fails_is_named() -> None:
    def broken() -> UInt8:
        raise InputError("b.png: not an image")

    patches = [
        Patch(name="a.png", crack=False, load=lambda: np.zeros((2, 2, 3), np.uint8)),
        Patch(name="b.png", crack=True, load=broken),
    ]
    got = evaluate_gate(lambda _: 0.9, patches)
    assert (got["gate.recall"].value, got["gate.ap"].value, got.curves) == (None, None, ())
    assert got["gate.false_alarms"].value == 1
    assert [(failure.name, failure.reason) for failure in got.failures] == [("b.png", "b.png: not an image")]


@pytest.mark.parametrize("probability", [1.2, -0.1, float("nan")])
def test_a_gate_that_gives_no_probability_stops_the_run(probability: float) -> None:
    patch = Patch(name="a.png", crack=False, load=lambda: np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png"):
        evaluate_gate(lambda _: probability, [patch])
