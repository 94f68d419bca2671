"""What every pixel loss promises, for each registered one with each of its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.support.pixel_batches import batch, gradient
from tests.support.pixel_loss_oracles import ORACLES, Batch
from tests.support.processes import run_in_processes
from train.losses import PIXEL_LOSSES, build_loss

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Every loss as it comes, and each branch that a parameter opens. A new loss needs a row here and an oracle.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("cross_entropy", {}),
    ("cross_entropy", {"reduction": "sum"}),
    ("adaptive_wce", {}),
    ("adaptive_wce", {"beta": 0.75, "gamma": 0.5, "base": 5.0, "reduction": "sum"}),
    ("adaptive_wce", {"kind": "exponential", "smoothing": 2.0}),
    ("adaptive_wce", {"kind": "ratio"}),
    ("adaptive_wce", {"kind": "ratio", "form": "xie"}),
    ("adaptive_wce", {"kind": "power", "beta": 0.85, "gamma": 1 / 3}),
    ("adaptive_wce", {"kind": "logarithm", "beta": 0.9}),
    ("jaccard", {}),
    ("jaccard", {"smoothing": 0.1}),
    ("holistic", {}),
    ("holistic", {"a": 20.0, "b": 2.0, "kind": "power", "beta": 0.5, "gamma": 0.5, "jaccard_smoothing": 3.0}),
    ("f1", {}),
    ("pseudo_f1", {}),
    ("pseudo_f1", {"scale": "paper"}),
    ("inverse_frequency", {}),
    ("focal", {}),
    ("focal", {"alpha": 0.5, "gamma": 0.5, "reduction": "sum"}),
    ("balanced_focal", {"gamma": 1.0}),
    ("balanced_focal", {"gamma": 2.0}),
    ("balanced_focal", {"gamma": 4.0, "detach": "nothing"}),
    ("balanced_focal", {"gamma": 0.7, "alpha": 1.0, "detach": "weight"}),
    ("dice", {}),
    ("dice", {"squared": False, "smoothing": 0.1}),
    ("robust_dice", {}),
    ("robust_dice", {"gamma": 1.0}),
    ("cldice", {}),
    ("cldice", {"alpha": 0.3, "iterations": 1}),
    ("poly", {}),
    ("poly", {"epsilon": -1.0, "reduction": "sum"}),
    ("robust_t", {}),
    ("robust_t", {"nu": 4.0, "reduction": "sum"}),
    ("topological", {}),
    ("topological", {"weight": 0.3, "patch_px": 16}),
]
# gradients through weights held constant: the gradient of no function, checked with their closed forms elsewhere
HELD_CONSTANT = {"pseudo_f1", "balanced_focal"}
# the mean over equal halves of a batch is the loss of the batch: the t-loss is, since each of its terms is an image's
ADDITIVE = {"cross_entropy", "focal", "poly", "robust_t", "topological"}


def is_function(name: str, parameters: dict[str, Any]) -> bool:
    return name not in HELD_CONSTANT or parameters.get("detach") == "nothing"


def named(cases: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    return [pytest.param(*c, id=c[0] + "".join(f"-{k}={v}" for k, v in c[1].items())) for c in cases]


every_case = pytest.mark.parametrize(("name", "parameters"), named(CASES))
every_loss = pytest.mark.parametrize("name", sorted(PIXEL_LOSSES))


def test_every_registered_pixel_loss_has_a_case_and_an_oracle() -> None:
    assert set(PIXEL_LOSSES) == set(ORACLES) == {name for name, _ in CASES}


@every_case
@pytest.mark.parametrize("masked", [False, True])
def test_the_value_is_that_of_a_loop_over_the_pixels(name: str, parameters: dict[str, Any], masked: bool) -> None:  # noqa: FBT001
    for seed in range(3):
        logits, target, ignore = batch(3, 5, 6, seed=seed)
        got = build_loss(name, **parameters)(logits, target, ignore if masked else None)
        valid = ~ignore if masked else torch.ones_like(ignore)
        x, y, v = (t[:, 0].numpy() for t in (logits, target, valid))
        assert got.item() == pytest.approx(ORACLES[name](Batch(x, y, v), **parameters), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("name", "parameters"), named([c for c in CASES if is_function(*c)]))
def test_autograd_agrees_with_finite_differences(name: str, parameters: dict[str, Any]) -> None:
    logits, target, ignore = batch(seed=1)
    loss = build_loss(name, **parameters)
    for mask in (None, ignore):
        assert torch.autograd.gradcheck(lambda x, m=mask: loss(x, target, m), logits.clone().requires_grad_())


@every_case
def test_the_order_of_the_batch_and_mirroring_change_nothing(name: str, parameters: dict[str, Any]) -> None:
    loss, (logits, target, ignore) = build_loss(name, **parameters), batch(4, 6, 5, seed=2)
    value, grad = gradient(loss, logits, target, ignore)
    moves: list[Callable[[Tensor], Tensor]] = [
        lambda t: t[[2, 0, 3, 1]],
        lambda t: t.flip(2),
        lambda t: t.flip(3),
        lambda t: t.transpose(2, 3),
    ]
    for moved in moves:
        moved_value, moved_grad = gradient(loss, moved(logits), moved(target), moved(ignore))
        torch.testing.assert_close(moved_value, value, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(moved_grad, moved(grad), rtol=1e-10, atol=1e-14)


@every_case
def test_an_ignored_pixel_has_no_gradient_and_no_say(name: str, parameters: dict[str, Any]) -> None:
    loss, (logits, target, ignore) = build_loss(name, **parameters), batch(seed=3)
    value, grad = gradient(loss, logits, target, ignore)
    assert (grad[ignore] == 0).all()
    assert (grad[~ignore] != 0).any()
    for anything in (30.0, -30.0, torch.inf, torch.nan):
        other, other_grad = gradient(
            loss, logits.masked_fill(ignore, anything), torch.where(ignore, 1 - target, target), ignore
        )
        assert other == value
        assert torch.equal(other_grad, grad)


@every_loss
def test_a_batch_that_is_ignored_as_a_whole_is_0_and_pulls_nowhere(name: str) -> None:
    logits, target, ignore = batch()
    value, grad = gradient(build_loss(name), logits, target, torch.ones_like(ignore))
    assert value.item() == pytest.approx(0, abs=1e-30)
    assert (grad == 0).all()


@every_case
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, parameters: dict[str, Any], half: torch.dtype) -> None:
    logits, target, ignore = batch(2, 16, 16, seed=4)
    rounded = logits.to(half)
    loss = build_loss(name, **parameters)
    want, want_grad = gradient(loss, rounded.double(), target, ignore)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, got_grad = gradient(loss, rounded, target.to(half), ignore)
    assert got.dtype == torch.float32
    assert got_grad.dtype == half
    assert got.item() == pytest.approx(want.item(), rel=1e-3)
    # autograd hands a gradient back in the logits' type, which has 8 bits in bfloat16
    precision = max(1e-3, torch.finfo(half).eps)
    assert (got_grad.double() - want_grad).norm() <= precision * want_grad.norm()


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("cracks", ["some", "none", "all"])
def test_no_batch_gives_infinities(name: str, parameters: dict[str, Any], dtype: torch.dtype, cracks: str) -> None:
    moderate, target, _ = batch(2, 8, 8, seed=5)
    target = {"some": target, "none": torch.zeros_like(target), "all": torch.ones_like(target)}[cracks]
    right, one, loss = 2 * target - 1, torch.ones_like(target), build_loss(name, **parameters)
    for logits in (moderate, 50 * right, -50 * right, 50 * one, -50 * one):
        value, grad = gradient(loss, logits.to(dtype), target)
        assert value.isfinite()
        if parameters.get("scale") != "paper" or dtype == torch.float32:  # weights of 1 / TP leave float16's range
            assert grad.isfinite().all()


@every_case
def test_saturated_and_wrong_still_pulls_the_right_way(name: str, parameters: dict[str, Any]) -> None:
    logits, target, _ = batch(2, 8, 8, seed=6, spread=1)
    _, grad = gradient(build_loss(name, **parameters), logits, target)
    assert (grad * (2 * target - 1)).sum() < 0  # a step down raises crack pixels and lowers background


@every_case
def test_a_better_prediction_costs_less(name: str, parameters: dict[str, Any]) -> None:
    _, target, _ = batch(2, 8, 8, seed=7)
    loss = build_loss(name, **parameters)
    costs = [loss(quality * (2 * target - 1), target).item() for quality in (0.0, 1.0, 2.0, 6.0)]
    assert costs == sorted(costs, reverse=True)


@every_loss
def test_shapes_that_differ_are_named(name: str) -> None:
    loss, (logits, target, ignore) = build_loss(name), batch()
    wrong = [
        (logits, target[:, :, :3], None, r"\(2, 1, 3, 4\).*\(2, 1, 4, 4\)"),
        (logits, target[:, 0], None, r"\(2, 4, 4\).*\(2, 1, 4, 4\)"),  # would broadcast to (2, 2, 4, 4)
        (logits, target, ignore[:1], r"\(1, 1, 4, 4\).*\(2, 1, 4, 4\)"),
        (logits.expand(2, 3, 4, 4), target, None, r"\(2, 3, 4, 4\).*\(2, 1, 4, 4\)"),
        (logits[:, 0], target[:, 0], None, r"\(2, 4, 4\).*\(2, 4, 4\)"),
    ]
    for x, y, mask, shapes in wrong:
        with pytest.raises(ValueError, match=shapes):
            loss(x, y, mask)


@every_loss
def test_a_target_of_any_type_will_do(name: str) -> None:
    loss, (logits, target, _) = build_loss(name), batch()
    assert loss(logits, target.bool()) == loss(logits, target) == loss(logits, target.to(torch.uint8))
    assert loss(logits, target).dtype == torch.float64
    assert loss(logits.float(), target).dtype == torch.float32


@every_loss
def test_only_some_losses_may_be_averaged_over_parts_of_a_batch(name: str) -> None:
    logits, target, _ = batch(4, 8, 8, seed=8)
    target[:2, :, 2:] = 0  # most crack pixels lie in the second half
    loss = build_loss(name)
    halves = (loss(logits[:2], target[:2]) + loss(logits[2:], target[2:])) / 2
    difference = abs(halves.item() / loss(logits, target).item() - 1)
    assert difference < 1e-12 if name in ADDITIVE else difference > 1e-3


@every_case
def test_a_loss_is_built_from_yaml(name: str, parameters: dict[str, Any]) -> None:
    section = yaml.safe_load(yaml.safe_dump({"name": name, **parameters}))
    loss = build_loss(section.pop("name"), **section)
    assert type(loss) is PIXEL_LOSSES[name]
    assert all(f"{key}={value!r}" in repr(loss) for key, value in parameters.items())


@every_loss
def test_an_unknown_parameter_is_refused_when_the_loss_is_built(name: str) -> None:
    with pytest.raises(ValueError, match=f"loss '{name}': .*nonsense"):
        build_loss(name, nonsense=1)


# Data parallelism -----------------------------------------------------------------------------------------------------


class _Learner(nn.Module):
    """A network without BatchNorm, and its loss: what data parallelism wraps, for the t-loss has a parameter too."""

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)).double()
        self.loss = build_loss(name, **parameters)

    def forward(self, images: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        loss: Tensor = self.loss(self.network(images), target, ignore)
        return loss


def _parallel_batch(cracks: str) -> tuple[Tensor, Tensor, Tensor]:
    images, target, ignore = batch(4, 8, 8, seed=9)
    ignore[0, :, 3:] = True  # the ranks have unequal numbers of valid pixels, too
    if cracks == "one rank":
        target[:3] = 0
    return images, target, ignore


_CRACKS = ("all ranks", "one rank")


def _learn(learner: nn.Module, data: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    value = learner(*data)
    value.backward()
    gradients = [parameter.grad for parameter in learner.parameters()]
    return [value.detach(), *(g for g in gradients if g is not None)]


def _learn_in_parallel(rank: int, processes: int, folder: Path) -> None:
    results = []
    for cracks in _CRACKS:
        part = slice(0, 3) if rank == 0 else slice(3, 4)  # unequal parts
        images, target, ignore = (t[part] for t in _parallel_batch(cracks))
        for name, parameters in CASES:
            learner = DistributedDataParallel(_Learner(name, parameters))
            results.append(_learn(learner, (images, target, ignore)))
        learner = DistributedDataParallel(_Learner("adaptive_wce", {"kind": "ratio", "alpha_over": "rank"}))
        results.append(_learn(learner, (images, target, ignore)))
    assert processes == 2
    torch.save(results, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def parallel(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    folder = tmp_path_factory.mktemp("parallel")
    run_in_processes(_learn_in_parallel, folder)
    return torch.load(folder / "0.pt"), torch.load(folder / "1.pt")


@every_case
@pytest.mark.parametrize("cracks", _CRACKS)
def test_two_processes_equal_one_with_the_whole_batch(
    name: str, parameters: dict[str, Any], cracks: str, parallel: tuple[list[list[Tensor]], list[list[Tensor]]]
) -> None:
    """Value on each rank, and the gradients that DistributedDataParallel averages, which is what an optimiser sees."""
    want = _learn(_Learner(name, parameters), _parallel_batch(cracks))
    index = _CRACKS.index(cracks) * (len(CASES) + 1) + CASES.index((name, parameters))
    for rank in parallel:
        for got, wanted in zip(rank[index], want, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9 * want[0].abs().item())


def test_alpha_of_each_rank_is_the_literal_option(
    parallel: tuple[list[list[Tensor]], list[list[Tensor]]],
) -> None:
    """Adaptive WCE, equation (2): q from each rank's own part, then the mean over all valid pixels."""
    images, target, ignore = _parallel_batch("all ranks")
    learner = _Learner("adaptive_wce", {"kind": "ratio", "reduction": "sum"})
    parts = [learner(images[p], target[p], ignore[p]) for p in (slice(0, 3), slice(3, 4))]
    value = (parts[0] + parts[1]) / (~ignore).sum()
    value.backward()
    want = [value.detach(), *(p.grad for p in learner.parameters())]
    for rank in parallel:
        torch.testing.assert_close(rank[len(CASES)], want, rtol=1e-6, atol=1e-9)
