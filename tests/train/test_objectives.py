"""What is made small: by the settings' names, and for a gate by patch and by cell."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agent.errors import ConfigError
from tests.support.training import tiny_settings
from train import models
from train.data.crops import Batch
from train.models.gate import PatchGate
from train.models.variance import WithVarianceHead
from train.objectives import Moment, build_network, build_objective
from train.objectives.segment import Nnclr
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


@pytest.mark.parametrize("options", [{}, {"alpha": 0.6, "gamma": 1.0}])
def test_a_gate_s_focal_loss_is_that_of_its_two_classes(tmp_path: Path, options: dict[str, float]) -> None:
    """Lin et al., equation (5), of the softmax; .25 and 2 unless set."""
    alpha, gamma = options.get("alpha", 0.25), options.get("gamma", 2.0)
    settings = tiny_settings(tmp_path, tmp_path, task="gate", loss=Named(name="focal", options=options))
    torch.manual_seed(1)
    net, batch = PatchGate((4, 4)).eval(), gate_batch()
    with torch.no_grad():
        loss = build_objective(settings, net)(net, batch, Moment(epoch=0, step=0))
        p = net.answers(batch.image).logits.softmax(1).double().numpy()
    each = []
    for row, label in zip(p, batch.label.tolist(), strict=True):
        weight = alpha if label else 1 - alpha
        each.append(-weight * (1 - row[label]) ** gamma * np.log(row[label]))
    assert float(loss) == pytest.approx(np.mean(each), rel=1e-5)


class Colours(nn.Module):
    """A segmenter whose features are a pixel's differences of colour, which no brightness or contrast turns."""

    stride_px, receptive_field_px, feature_width = 1, 1, 3

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def features(self, image: Tensor) -> Tensor:
        return image - image.roll(1, dims=1)

    def classify(self, features: Tensor) -> Tensor:
        return features[:, :1] + self.bias

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.features(image))


def test_nnclr_lets_a_pixel_find_its_mirror_image_by_its_nearest_neighbour(tmp_path: Path) -> None:
    """NNCLR, equation (3), of all ambiguous pixels, by a loop; cross-entropy of the others; in phase 1 as CIRL."""
    options = {"first": 1, "second": 1, "warm_up_share": 0, "threshold": 1e-3, "pixels": 400, "support_size": 50}
    settings = tiny_settings(tmp_path, tmp_path, loss=Named(name="nnclr", options=options))
    torch.manual_seed(3)
    net = WithVarianceHead(Colours())
    batch = gate_batch()
    batch.image.mul_(0.4).add_(0.3)  # so that no view is clipped
    batch.mask[1, 0, 9, 4:20] = 1
    objective = build_objective(settings, net).train()
    assert isinstance(objective, Nnclr)
    support = objective.views.support.clone().double().numpy()
    loss = objective(net, batch, Moment(epoch=1, step=7)).item()
    ambiguous = objective.ambiguous(batch)
    assert 20 <= int(ambiguous.sum()) <= 400
    with torch.no_grad():
        found = net.answers(batch.image)
    rows = found.features.movedim(1, -1)[ambiguous[:, 0]].double().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    terms = []
    for i in range(len(rows)):
        nearest = support[np.argmax(support @ rows[i])]
        scores = np.exp(rows @ nearest / 0.1)
        terms.append(-np.log(scores[i] / scores.sum()))
    of_labels = F.binary_cross_entropy_with_logits(found.logits[~ambiguous], batch.mask[~ambiguous])
    assert loss == pytest.approx(float(of_labels) + 0.2 * np.mean(terms), rel=1e-4)
    assert not np.allclose(objective.views.support.numpy(), support), "the views were not remembered"
    as_cirl = tiny_settings(
        tmp_path, tmp_path, loss=Named(name="cirl", options={k: options[k] for k in list(options)[:4]})
    )
    first = Moment(epoch=0, step=0)
    assert objective(net, batch, first).item() == build_objective(as_cirl, net)(net, batch, first).item()


def test_nnclr_without_an_ambiguous_pixel_is_cross_entropy(tmp_path: Path) -> None:
    options = {"first": 1, "second": 1, "threshold": 1e6, "support_size": 50}
    settings = tiny_settings(tmp_path, tmp_path, loss=Named(name="nnclr", options=options))
    net, batch = WithVarianceHead(Colours()), gate_batch()
    loss = build_objective(settings, net)(net, batch, Moment(epoch=1, step=0))
    loss.backward()
    assert loss.item() == pytest.approx(F.binary_cross_entropy_with_logits(net(batch.image), batch.mask).item())
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


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
        pytest.param(
            "segment",
            {"model": {"name": "rep_unet"}, "loss": {"name": "nnclr", "options": {"pixels": 1}}},
            "pixels=1",
            id="no negatives",
        ),
        pytest.param("gate", {"loss": {"name": "holistic"}}, "which learns by cross_entropy", id="a map's loss"),
        pytest.param("gate", {"model": {"name": "half_res_unet"}}, "is no gate", id="a segmenter as a gate"),
    ],
)
def test_a_loss_that_does_not_fit_the_task_is_refused(
    tmp_path: Path, task: str, changes: dict[str, object], told: str
) -> None:
    settings = tiny_settings(tmp_path, tmp_path, task=task, **changes)
    with pytest.raises(ConfigError) as caught:
        build_objective(settings, build_network(settings))
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
