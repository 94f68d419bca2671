from __future__ import annotations

import json
from pathlib import Path

from tests.support.bundles import make_bundle
from tests.support.commands import crack


def test_it_measures_gate_segmenter_and_every_stage(tiny_bundle_folder: Path) -> None:
    done = crack("crack-agent", "bench", "--bundle", tiny_bundle_folder, "--repetitions", 2, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["stages"]) == ["decode", "detect", "measure", "encode"]
    for timing in (told["segmenter_tile"], told["gate_tile"], *told["stages"].values()):
        assert 0 < timing["wall_ms_median"] <= timing["wall_ms_p95"]
    # 2048 x 1536 in 64 px tiles that overlap by 16: by hand
    assert (told["frame_megapixels"], told["frame_tiles"], told["tile_px"]) == (3.145728, 43 * 32, 64)
    assert told["repetitions"] == 2
    whole_ms = sum(timing["wall_ms_median"] for timing in told["stages"].values())
    assert abs(told["frames_per_second"] * whole_ms / 1000 - 1) < 1e-6


def test_a_bundle_without_a_gate_has_no_figure_for_it(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "gateless", gate=False)
    done = crack("crack-agent", "bench", "--bundle", bundle, "--repetitions", 1)
    assert done.returncode == 0, done.stderr
    assert "segmenter, tile" in done.stdout
    assert "gate, tile" not in done.stdout
