"""The short form of `make bench-flight`: tracking and coverage by themselves; the detector here knows the truth."""

from __future__ import annotations

from pathlib import Path

from tests.bench.bench_flight import Drawn, fly, legs, scores


def test_a_rendered_flight_is_told_as_its_truth_is(tmp_path: Path) -> None:
    drawn = Drawn(legs(4.0, 480, 270))
    found = scores(drawn, fly(drawn, tmp_path / "record", detector="mask"))
    assert found["true_cracks_seen"] >= 30
    assert found["recall_from_2_px"] >= 0.95
    assert found["recall_1_to_2_px"] >= 0.9
    assert found["false_cracks"] == 0
    assert found["identity_precision"] >= 0.95
    assert found["identity_recall"] >= 0.95
    assert found["coverage_area_error"] <= 0.05  # the frames are small, and the cells are not
