"""A plan says which runs there are: folds, sets left out, teachers before pupils."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ConfigError
from tests.support.commands import ROOT
from train import models
from train.data.splits import folded
from train.fit import LAST
from train.settings import PoolSource
from train.ship.plan import Run, read_plan, runs_of

PLANS = sorted((ROOT / "configs" / "train" / "ship").glob("*plan.yaml"))


@pytest.fixture(scope="module")
def research() -> dict[str, Run]:
    path = ROOT / "configs" / "train" / "ship" / "plan.yaml"
    return {run.name: run for run in runs_of(read_plan(path), path, "research", ["optimiser.epochs=3"])}


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_every_plan_expands_and_its_header_is_its_command(path: Path) -> None:
    plan = read_plan(path)
    assert f"crack-train ship configs/train/ship/{path.name}" in path.read_text()
    for name, bundle in plan.bundles.items():
        runs = runs_of(plan, path, name)
        assert len(runs) == len({run.name for run in runs})
        for model in {run.settings.model.model_dump_json(): run.settings.model for run in runs}.values():
            models.build(model.name, **model.options)  # options that its network does not have are an error
        assert bundle.export is not None
        assert (path.parent / bundle.export).exists()


@pytest.mark.parametrize("name", ["plan.yaml", "cpu.plan.yaml"])
def test_what_is_free_for_commercial_use_learns_from_nothing_else(name: str) -> None:
    path = ROOT / "configs" / "train" / "ship" / name
    for run in runs_of(read_plan(path), path, "default"):
        assert {source.name for source in run.settings.data.sources} <= {"rendered", "views", "uav315", "metu3k"}, (
            run.name
        )


def test_teachers_come_first_and_never_saw_what_their_pupils_are_judged_on(research: dict[str, Run]) -> None:
    order = list(research)
    for what in ("fold-0", "fold-4", "without-cfd", "final"):
        pupil, teacher = research[f"research/segmenter/{what}"], research[f"research/teacher/{what}"]
        assert pupil.needs == (teacher.name,)
        assert order.index(teacher.name) < order.index(pupil.name)
        assert pupil.settings.teacher is not None
        assert pupil.settings.teacher.checkpoint == teacher.settings.folder / LAST
        assert (pupil.settings.data.folds, pupil.settings.data.fold) == (
            teacher.settings.data.folds,
            teacher.settings.data.fold,
        )
        assert [s.name for s in pupil.settings.data.sources] == [s.name for s in teacher.settings.data.sources]


def test_segmenters_begin_with_a_base_that_has_seen_no_photo(tmp_path: Path) -> None:
    path = ROOT / "configs" / "train" / "ship" / "cpu.plan.yaml"
    plan = read_plan(path)
    for name in plan.bundles:
        base, *others = runs_of(plan, path, name)
        assert all(isinstance(source, PoolSource) for source in base.settings.data.sources)
        assert {source.name for source in base.asked} == {"cfd", "deepcrack256", "uav315", "uav75"}
        begun = [run for run in others if run.settings.start is not None]
        assert begun == [run for run in others if run.net == "segmenter" and run.role == "main"]
        assert {run.settings.start for run in begun} == {base.settings.folder / LAST}
        assert all(run.needs == (base.name,) for run in begun)
        assert all(run.settings.model == base.settings.model for run in begun)
    taught = tmp_path / "taught.yaml"
    taught.write_text(path.read_text().replace("base: base_segmenter.yaml", "base: default_segmenter.yaml"))
    for file in path.parent.glob("*.yaml"):
        if not file.name.endswith("plan.yaml"):
            (tmp_path / file.name).write_text(file.read_text())
    with pytest.raises(ConfigError, match=r"take out uav315"):
        runs_of(read_plan(taught), taught, "default")


def test_a_left_out_set_is_asked_about_and_not_learnt_from(research: dict[str, Run]) -> None:
    run = research["research/segmenter/without-uav75"]
    assert "uav75" not in {source.name for source in run.settings.data.sources}
    assert [source.name for source in run.asked] == ["uav75"]
    rendered = research["research/rendered-only/rendered"]
    assert {source.kind for source in rendered.settings.data.sources} == {"rendered", "views"}
    assert {source.name for source in rendered.asked} == {"cfd", "deepcrack256", "uav315", "uav75"}


def test_what_ships_learns_from_nearly_everything_and_overrides_reach_every_run(research: dict[str, Run]) -> None:
    final = research["research/segmenter/final"].settings
    assert final.data.folds is None
    assert {source.validation for source in final.data.sources if not isinstance(source, PoolSource)} == {0.04}
    assert {run.settings.optimiser.epochs for run in research.values()} == {3}
    assert len({run.settings.folder for run in research.values()}) == len(research)


def test_what_is_set_for_all_segmenters_holds_for_variants_but_not_for_gates() -> None:
    path = ROOT / "configs" / "train" / "ship" / "cpu.plan.yaml"
    runs = {run.name: run.settings for run in runs_of(read_plan(path), path, "research")}
    assert {s.data.crop_px for name, s in runs.items() if "/gate/" not in name} == {192}
    assert {s.data.crop_px for name, s in runs.items() if "/gate/" in name} == {256}
    assert runs["research/yardstick/seed-0-fold-0"].model.name == "yardstick"
    assert runs["research/yardstick/seed-0-fold-0"].model.options == {}


def test_an_unknown_set_is_named(tmp_path: Path) -> None:
    path = ROOT / "configs" / "train" / "ship" / "plan.yaml"
    text = path.read_text().replace("left_out: [cfd, uav75]\n    false", "left_out: [nowhere]\n    false")
    copied = tmp_path / "plan.yaml"
    copied.write_text(text.replace("research_", f"{path.parent}/research_"))
    with pytest.raises(ConfigError, match="left_out: nowhere is none of cfd"):
        runs_of(read_plan(copied), copied, "research")
    copied.write_text("bundles: {a: {segmenter: x.yaml}}\nparalel: 2\n")
    with pytest.raises(ConfigError, match=r"2 to fix.*gate"):
        read_plan(copied)


def test_five_folds_hold_every_picture_once() -> None:
    assert sorted(i for fold in range(5) for i in folded(list("aabbccddee"), 5, fold, 0)[1]) == list(range(10))
