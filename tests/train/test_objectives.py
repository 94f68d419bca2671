"""What is made small: by the settings' names, and for a gate by patch and by cell."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from agent.errors import ConfigError
from tests.support.training import tiny_settings
from train import models
from train.data.crops import Batch
from train.models.gate import PatchGate
from train.objectives import Moment, build_objective
from train.settings import Named


def gate_batch() -> Batch:
    mask = torch.zeros(3, 1, 32, 32)
    mask[0, 0, 0, 0] = 1  # one pixel makes its cell a crack
    return Batch(
        image=torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        mask=mask,
        masked=torch.tensor([True, True, False]),
        label=torch.tensor([1, 0, 1]),
    )


def gate_loss(tmp_path: Path, batch: Batch, **options: float) -> tuple[float, Tensor, Tensor]:
    settings = tiny_settings(tmp_path, tmp_path, task="gate", loss=Named(name="cross_entropy", options=options))
    torch.manual_seed(1)
    net = PatchGate((4, 4)).eval()
    with torch.no_grad():
        found = net.answers(batch.image)
        loss = build_objective(settings, net)(net, batch, Moment(epoch=0, step=0))
        assert found.cells is not None
        return float(loss), found.logits, found.cells


def test_a_gate_s_loss_is_the_cross_entropy_of_patches_and_of_the_cells_whose_mask_is_known(tmp_path: Path) -> None:
    batch = gate_batch()
    loss, logits, cells = gate_loss(tmp_path, batch, crack_weight=3, cell_weight=2)
    p = torch.softmax(logits, 1).numpy()
    weights = np.array([3, 1, 3])
    of_patches = -(weights * np.log([p[0, 1], p[1, 0], p[2, 1]])).sum() / weights.sum()
    q = torch.sigmoid(cells[:2, 0]).numpy()
    truth = np.zeros((2, 4, 4))
    truth[0, 0, 0] = 1
    of_cells = -np.mean(truth * np.log(q) + (1 - truth) * np.log(1 - q))
    assert loss == pytest.approx(of_patches + 2 * of_cells, rel=1e-5)


def test_without_any_mask_only_the_patches_count(tmp_path: Path) -> None:
    batch = gate_batch()
    batch.masked[:] = False
    by_patch = gate_loss(tmp_path, batch, cell_weight=0)[0]
    assert gate_loss(tmp_path, batch, cell_weight=5)[0] == pytest.approx(by_patch)


@pytest.mark.parametrize(
    ("task", "changes", "told"),
    [
        pytest.param("segment", {"loss": {"name": "holistik"}}, "did you mean 'holistic'", id="a misspelt loss"),
        pytest.param("segment", {"loss": {"name": "gagl"}}, "is not for task: segment", id="a loss on features"),
        pytest.param("gate", {"loss": {"name": "holistic"}}, "which learns by cross_entropy", id="a map's loss"),
        pytest.param("gate", {"model": {"name": "half_res_unet"}}, "is no gate", id="a segmenter as a gate"),
    ],
)
def test_a_loss_that_does_not_fit_the_task_is_refused(
    tmp_path: Path, task: str, changes: dict[str, object], told: str
) -> None:
    settings = tiny_settings(tmp_path, tmp_path, task=task, **changes)
    with pytest.raises(ConfigError) as caught:
        build_objective(settings, models.build(settings.model.name, **settings.model.options))
    assert told in str(caught.value)


def test_a_deeply_supervised_network_learns_from_each_of_its_outputs(tmp_path: Path) -> None:
    """HED, equation (4): the sides' losses and that of the fused map."""
    settings = tiny_settings(tmp_path, tmp_path, loss=Named(name="cross_entropy"))
    torch.manual_seed(1)
    net, batch = models.build("hed", width=1 / 16), gate_batch()
    loss = build_objective(settings, net)(net, batch, Moment(epoch=0, step=0))
    each = [F.binary_cross_entropy_with_logits(logits, batch.mask) for logits in net.outputs(batch.image)]  # type: ignore[operator]
    assert len(each) == 6
    torch.testing.assert_close(loss, torch.stack(each).sum())


def test_cells_are_not_asked_of_a_network_without_them(tmp_path: Path) -> None:
    options: dict[str, object] = {"backbone": "convnet"}
    net = models.build("patch_classifier", **options)
    for weight, fits in ((0, True), (1, False)):
        loss = Named(name="cross_entropy", options={"cell_weight": weight})
        settings = tiny_settings(tmp_path, tmp_path, task="gate", loss=loss)
        with nullcontext() if fits else pytest.raises(ConfigError, match="cell_weight=1"):
            build_objective(settings, net)
