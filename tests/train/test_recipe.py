"""What a recipe can ask for beside network and loss: folds, a teacher, a mix of sets, an early end."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from agent.errors import ConfigError
from tests.support.training import tiny_settings, write_pairs
from train.checkpoint import load_checkpoint
from train.data.crops import Batch
from train.data.sources import open_sources
from train.data.splits import folded
from train.fit import BEST, LAST, LOG_NAME, fit
from train.models.reparam import RepConv
from train.objectives import Moment, build_network, build_objective
from train.settings import Settings, Teacher
from train.validation import validate_segmenter

REP: dict[str, Any] = {"name": "rep_unet", "options": {"widths": [4, 4, 4], "depths": [0, 0], "merges": [1, 1]}}


def with_data(settings: Settings, **changes: object) -> Settings:
    raw = settings.model_dump(mode="json")
    raw["data"] |= changes
    return Settings.model_validate(raw)


def test_folds_are_everything_once_of_equal_size_and_part_no_group() -> None:
    groups = [f"g{i // 7}" for i in range(100)] + [f"h{i}" for i in range(23)]
    sides = [folded(groups, 5, fold, seed=3) for fold in range(5)]
    held = [index for _, part in sides for index in part]
    assert sorted(held) == list(range(123))
    assert max(len(part) for _, part in sides) - min(len(part) for _, part in sides) <= 7
    for learnt, part in sides:
        assert sorted([*learnt, *part]) == list(range(123))
        assert not {groups[i] for i in learnt} & {groups[i] for i in part}


def test_a_run_holds_back_its_fold_of_the_photos_alone(photos: Path, tmp_path: Path) -> None:
    held = []
    for fold in range(5):
        sides = open_sources(with_data(tiny_settings(photos, tmp_path), folds=5, fold=fold))
        rendered, pairs, classes = sides.validation
        assert (len(rendered.indices), len(pairs.indices)) == (1, 2)
        held += list(pairs.indices)
        assert len(classes.indices) in {1, 2, 3}, "clean ones; those with a crack have no mask"
    assert sorted(held) == list(range(10))


@pytest.mark.parametrize("wrong", [{"folds": 5}, {"fold": 0}, {"folds": 3, "fold": 3}])
def test_folds_that_make_no_sense_are_refused(photos: Path, tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give both or neither"):
        with_data(tiny_settings(photos, tmp_path), **wrong)


def test_subsets_share_out_what_is_learnt_from_and_are_judged_alike(photos: Path, tmp_path: Path) -> None:
    """CIRL, table 1: four sub-training sets, one test set."""
    whole = open_sources(tiny_settings(photos, tmp_path))
    sources = tiny_settings(photos, tmp_path).model_dump()["data"]["sources"]
    learnt = []
    for subset in range(3):
        cut = [{**s, "subsets": 3, "subset": subset} if s["kind"] == "pairs" else s for s in sources]
        sides = open_sources(with_data(tiny_settings(photos, tmp_path), sources=cut))
        assert sides.validation[1].indices == whole.validation[1].indices
        assert len(sides.training[1].indices) in {2, 3}
        learnt += list(sides.training[1].indices)
    assert sorted(learnt) == list(whole.training[1].indices)


@pytest.mark.parametrize("wrong", [{"subsets": 4}, {"subset": 0}, {"subsets": 3, "subset": 3}])
def test_subsets_that_make_no_sense_are_refused(photos: Path, tmp_path: Path, wrong: dict[str, int]) -> None:
    settings = tiny_settings(photos, tmp_path)
    sources = [{**s, **wrong} if s["kind"] == "pairs" else s for s in settings.model_dump()["data"]["sources"]]
    with pytest.raises(ValueError, match=r"subset=.* give both or neither"):
        with_data(settings, sources=sources)


def test_what_only_resident_data_know_is_refused_without(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path)
    sources = [{**s, "margin_px": 2} if s["kind"] == "pairs" else s for s in settings.model_dump()["data"]["sources"]]
    with pytest.raises(ValueError, match=r"pairs\.margin_px"):
        with_data(settings, sources=sources)
    assert with_data(settings, sources=sources, resident=True).data.resident


def test_clean_pictures_alone_are_a_source(photos: Path, tmp_path: Path) -> None:
    source = {"kind": "classes", "name": "c", "folder": "classes", "crack": [], "weight": 1, "licence": "none"}
    sides = open_sources(with_data(tiny_settings(photos, tmp_path), sources=[source]))
    assert {len(part.indices) for part in (*sides.training, *sides.validation)} == {8, 2}


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    optimiser = {"epochs": 1, "steps_per_epoch": 2, "batch": 2}
    fit(tiny_settings(photos, folder, model=REP, optimiser=optimiser))
    return folder / BEST


def test_a_checkpoint_comes_back_with_its_branches_fused(teacher: Path) -> None:
    net, passport = load_checkpoint(teacher)
    assert not any(isinstance(module, RepConv) for module in net.modules())
    assert passport.parameters == sum(p.numel() for p in net.parameters())


def test_a_teacher_adds_its_weighted_cross_entropy(photos: Path, tmp_path: Path, teacher: Path) -> None:
    chosen = {"checkpoint": str(teacher), "weight": 0.25}
    settings = tiny_settings(photos, tmp_path, model=REP, teacher=chosen)
    torch.manual_seed(0)
    net = build_network(settings).eval()
    objective = build_objective(settings, net)
    image, mask = torch.rand(2, 3, 32, 32), (torch.rand(2, 1, 32, 32) > 0.9).float()
    soft = torch.randn(2, 1, 32, 32)
    plain = Batch(image, mask, torch.ones(2).bool(), torch.ones(2).long())
    taught = Batch(image, mask, torch.ones(2).bool(), torch.ones(2).long(), teacher=soft)
    moment = Moment(epoch=0, step=0)
    with torch.no_grad():
        added = objective(net, taught, moment) - objective(net, plain, moment)
        p, q = soft.sigmoid().double(), net(image).sigmoid().double()
        wanted = -(p * q.log() + (1 - p) * (1 - q).log()).mean()
    assert float(added) == pytest.approx(0.25 * float(wanted), rel=1e-4)


def test_a_taught_run_learns_and_keeps_its_teacher_out_of_the_checkpoint(
    photos: Path, tmp_path: Path, teacher: Path
) -> None:
    settings = tiny_settings(photos, tmp_path / "run", model=REP, teacher={"checkpoint": str(teacher)})
    fit(with_data(settings, resident=True))
    state = torch.load(tmp_path / "run" / LAST, weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} <= {"net", "averaged", "objective"}
    gate = tiny_settings(
        photos, tmp_path / "gate", task="gate", optimiser={"epochs": 1, "steps_per_epoch": 1, "batch": 2}
    )
    fit(gate)
    wrong = settings.model_copy(
        update={
            "out": tmp_path / "wrong",
            "teacher": Teacher(checkpoint=gate.folder / BEST),
        }
    )
    with pytest.raises(ConfigError, match="is a gate's"):
        fit(wrong)


def test_a_run_begins_with_the_averaged_weights_of_another(photos: Path, tmp_path: Path, teacher: Path) -> None:
    still = {"epochs": 1, "steps_per_epoch": 1, "batch": 2, "learning_rate": 1e-12, "weight_decay": 0.0}
    fit(tiny_settings(photos, tmp_path / "run", model=REP, start=str(teacher), optimiser=still))
    before, after = (
        {k.removeprefix("averaged.module."): v for k, v in torch.load(path, weights_only=True)["state_dict"].items()}
        for path in (teacher, tmp_path / "run" / LAST)
    )
    names = [name for name, _ in build_network(tiny_settings(photos, tmp_path, model=REP)).named_parameters()]
    assert names
    for name in names:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)
    other = {"name": "half_res_unet", "options": {"widths": [4, 8]}}
    with pytest.raises(ConfigError, match=r"start=.*holds rep_unet .* do not fit half_res_unet"):
        fit(tiny_settings(photos, tmp_path / "other", model=other, start=str(teacher)))


def test_a_mix_of_sets_counts_each_set_alike(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data" / "many", 8)
    write_pairs(tmp_path / "data" / "few", 3)
    sources = [
        {"kind": "pairs", "name": name, "folder": name, "weight": 1, "validation": 0.99, "licence": "none"}
        for name in ("many", "few")
    ]
    settings = with_data(
        tiny_settings(tmp_path / "data", tmp_path),
        sources=[*sources, {"kind": "rendered", "count": 2, "size_px": 64, "weight": 1, "validation": 0.5}],
    )
    sides = open_sources(settings)

    class Dark(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return 20 * (0.4 - F.avg_pool2d(image, 3, 1, 1).mean(dim=1, keepdim=True))

    def score(parts: Any, mix: Any) -> float:
        return validate_segmenter(Dark(), parts, stride_px=1, device=torch.device("cpu"), mix=mix).score

    sets = [part for part in sides.validation if part.source.real]
    alone = [score([part], "sets") for part in sets]
    assert score(sets, "sets") == pytest.approx(np.mean(alone))
    assert score(sets, "pooled") != pytest.approx(np.mean(alone))


def test_judging_now_and_then_ends_a_run_that_stands_still(photos: Path, tmp_path: Path) -> None:
    optimiser = {
        "batch": 2,
        "epochs": 40,
        "steps_per_epoch": 1,
        "learning_rate": 1e-9,
        "schedule": "constant",
        "ema": 0.0,
    }
    judging = {"every": 2, "stop_after": 2}
    done = fit(tiny_settings(photos, tmp_path / "run", optimiser=optimiser, judging=judging))
    assert done.epochs <= 10
    with (tmp_path / "run" / LOG_NAME).open() as stream:
        assert all(int(row["epoch"]) % 2 == 0 for row in csv.DictReader(stream))
