"""Scores and thresholds of a validation, against networks whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from tests.support.training import tiny_settings
from train.data.sources import open_sources
from train.validation import _recall_threshold, _roc_area, segment, validate_gate, validate_segmenter

CPU = torch.device("cpu")


class Darkness(nn.Module):
    """Calls dark pixels crack, and a patch by its darkest one."""

    def __init__(self, *, gate: bool = False) -> None:
        super().__init__()
        self._gate = gate

    def forward(self, image: Tensor) -> Tensor:
        logits = (0.35 - image.mean(dim=1, keepdim=True)) * 20
        if not self._gate:
            return logits
        margin = logits.amax(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def test_a_network_that_finds_every_crack_scores_one_on_the_photos(photos: Path, tmp_path: Path) -> None:
    parts = open_sources(tiny_settings(photos, tmp_path)).validation
    found = validate_segmenter(Darkness(), parts, stride_px=8, device=CPU)
    figures = {(figure.data, figure.name): figure.value for figure in found.figures}
    assert found.score > 0.99
    assert "photos" in found.score_name
    assert figures["pairs", "recall"] > 0.9
    assert figures["classes", "false_pixels"] == 0
    assert not found.skipped


def test_a_network_that_sees_nothing_scores_little(photos: Path, tmp_path: Path) -> None:
    class Nothing(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.zeros_like(image[:, :1])

    parts = open_sources(tiny_settings(photos, tmp_path)).validation
    assert validate_segmenter(Nothing(), parts, stride_px=8, device=CPU).score < 0.3


def test_rendered_patches_decide_only_where_there_are_no_photos(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path)
    rendered = settings.data.sources[0].model_copy(update={"validation": 0.75, "count": 12})
    alone = settings.model_copy(update={"data": settings.data.model_copy(update={"sources": (rendered,)})})
    found = validate_segmenter(Darkness(), open_sources(alone).validation, stride_px=8, device=CPU)
    assert "rendered" in found.score_name


def test_a_map_has_the_size_of_its_picture_whatever_that_is() -> None:
    picture = np.full((37, 53, 3), 200, np.uint8)
    picture[20, :] = 0
    probability = segment(Darkness(), picture, stride_px=16, device=CPU)
    assert probability.shape == (37, 53)
    assert (probability[20] > 250).all()
    assert probability[0].max() < 5


def test_a_gate_that_finds_every_crack_scores_one(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path, task="gate")
    found = validate_gate(Darkness(gate=True), open_sources(settings).validation, gate=settings.gate, device=CPU)
    figures = {(figure.data, figure.name): figure.value for figure in found.figures}
    assert found.score == 1
    assert figures["classes", "tile_recall"] == 1
    assert figures["classes", "clean_passed"] == 0
    assert "0.995" in found.chosen


@given(answers=st.lists(st.floats(0, 1), min_size=1, max_size=400), recall=st.sampled_from([0.9, 0.99, 0.995, 1.0]))
def test_a_threshold_keeps_the_recall_and_is_the_highest_that_does(answers: list[float], recall: float) -> None:
    probabilities = np.array(answers)
    threshold = _recall_threshold(probabilities, recall)
    assert np.mean(probabilities >= threshold) >= recall - 1e-9
    higher = probabilities[probabilities > threshold]
    if len(higher):
        assert np.mean(probabilities >= higher.min()) < recall


@given(
    crack=st.lists(st.integers(0, 20), min_size=1, max_size=30),
    clean=st.lists(st.integers(0, 20), min_size=1, max_size=30),
)
def test_the_roc_area_is_that_of_scikit_learn(crack: list[int], clean: list[int]) -> None:
    probabilities = np.array([*crack, *clean]) / 20
    labels = np.array([True] * len(crack) + [False] * len(clean))
    assert _roc_area(probabilities, labels) == pytest.approx(roc_auc_score(labels, probabilities))
    assert _roc_area(probabilities[labels], labels[labels]) is None
