"""A small plan from photos to two sealed bundles' worth of figures, by the command, stopped and taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from agent.contract.bundle import load_bundle
from tests.support.commands import crack
from tests.support.training import tiny_settings
from train.fit import LOG_NAME
from train.ship.figures import BundleFigures


@pytest.fixture(scope="module")
def plan(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    for net, task in (("segmenter", "segment"), ("gate", "gate")):
        optimiser = {"batch": 4, "epochs": 2, "steps_per_epoch": 12, "learning_rate": 0.02, "ema": 0.5}
        raw = tiny_settings(photos, folder / "unused", task=task, optimiser=optimiser).model_dump(mode="json")
        raw["data"] |= {"resident": True}
        raw["data"]["sources"] = [s for s in raw["data"]["sources"] if s["kind"] != "rendered"]
        if task == "segment":
            raw["model"] = {"name": "rep_unet", "options": {"widths": [4, 4, 4], "depths": [0, 0], "merges": [1, 1]}}
        (folder / f"{net}.yaml").write_text(yaml.safe_dump(raw))
    (folder / "export.yaml").write_text(
        "name: tiny\nlicence: none\ntile_px: 64\noverlap_px: 16\n"
        "golden_tiles: 1\nvariants: []\nvalidation: {rendered: 1}\n"
    )
    bundle = {
        "segmenter": "segmenter.yaml",
        "gate": "gate.yaml",
        "folds": 2,
        "variants": {"narrow": {"set": ["model.options.widths=[2, 2, 2]"]}},
        "distractors": {"pairs": "masks"},
        "export": "export.yaml",
    }
    text = {"out": str(folder / "out"), "parallel": 2, "resamples": 20, "bundles": {"tiny": bundle}}
    (folder / "plan.yaml").write_text(yaml.safe_dump(text))
    return folder / "plan.yaml"


@pytest.mark.slow
def test_a_plan_becomes_a_sealed_bundle_with_figures_of_held_back_pictures(plan: Path) -> None:
    out = plan.parent / "out" / "tiny"
    stopped = crack("crack-train", "ship", plan, "--minutes", "0")
    assert stopped.returncode == 130, stopped.stderr
    done = crack("crack-train", "ship", plan)
    assert done.returncode == 0, done.stderr
    found = BundleFigures.model_validate_json((out / "figures.json").read_text())
    (pairs, clean) = sorted(found.held_out, key=lambda one: -one.with_crack)
    assert (pairs.name, pairs.pictures, pairs.with_crack) == ("pairs", 10, 10)
    assert (clean.name, clean.pictures, clean.with_crack) == ("classes", 10, 0)
    assert found.distractors == {"pairs": 0.0}, "nothing of a crack's own mask lies away from it"
    assert set(found.compared) == {"(what ships)", "narrow"}
    assert {one.name: (one.crack, one.clean) for one in found.gate}["classes"] == (10, 10)
    assert all(one.tile_recall.value == 1 for one in found.gate), "at least 0.995 of ten is all"
    assert found.reliability.error <= found.reliability_before.error
    sealed = load_bundle(out / "bundle")
    assert sealed.manifest.segmenter.threshold.value == pytest.approx(found.threshold.value, abs=1e-6)
    names = {metric.name for metric in sealed.manifest.metrics}
    assert {"segment.strict.ods", "segment.strict.f1", "segment.calibration_error", "gate.tile_recall"} <= names
    assert "Held-back folds, after the gate" in (out / "figures.md").read_text()
    rows = (out / "segmenter" / "fold-0" / LOG_NAME).read_text()
    again = crack("crack-train", "ship", plan, "--until", "figures")
    assert again.returncode == 0, again.stderr
    assert (out / "segmenter" / "fold-0" / LOG_NAME).read_text() == rows, "what is done is not done again"
    judged = crack("crack-train", "evaluate", out / "segmenter.ckpt", "--images", plan.parent, "--json")
    assert judged.returncode == 2, "a folder without photos"
    assert json.loads((out / "segmenter" / "final" / "run.json").read_text())["result"]["epochs"] == 2


def test_an_unknown_bundle_and_an_unknown_stage_are_named(plan: Path) -> None:
    done = crack("crack-train", "ship", plan, "--only", "other")
    assert done.returncode == 2
    assert "--only other" in done.stderr
    assert crack("crack-train", "ship", plan, "--until", "never").returncode == 2
    dry = crack("crack-train", "ship", plan, "--dry-run")
    assert "tiny/segmenter/fold-1  24 steps of 4 crops" in dry.stdout
