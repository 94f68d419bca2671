"""The certificate's figures by another route, and what it does to a variant that lies beyond its limits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from agent.contract.arrays import Bool, UInt8
from agent.contract.bundle import Bundle, load_bundle
from agent.contract.certificate import LIMITS, Measured
from agent.errors import BundleError, InputError, OutputError
from export.certify import certify
from export.onnx_graph import ExportError
from export.pictures import JudgedSet
from export.seal import Pictures, certify_bundle
from export.settings import ExportSettings, PictureSettings
from export.verify import verify
from tests.support.bundles import (
    OFFSET,
    THRESHOLD,
    expected_probability,
    gate_graph,
    make_bundle,
    seal,
    segmenter_graph,
)
from tests.support.commands import crack
from tests.support.disks import make_read_only
from tests.support.training import cracked_photo, write_pairs
from train.data.picture import Picture

FEW = PictureSettings(rendered=3)
SETTINGS = ExportSettings(calibration=FEW, validation=FEW)
EDGES = (64, 50, 90)  # a tile, smaller, larger


def judged(count: int = 6) -> JudgedSet:
    pictures = [cracked_photo(index, EDGES[index % len(EDGES)]) for index in range(count)]
    loads = [
        lambda image=image, mask=mask: Picture(image_rgb=image, mask=mask, cracked=True) for image, mask in pictures
    ]
    return JudgedSet(name="drawn", data="lines", load=loads)


def with_offset(model: onnx.ModelProto, offset: float) -> bytes:
    """The same formula, less willing to call a crack."""
    for weight in model.graph.initializer:
        if weight.name == "offset":
            weight.CopyFrom(numpy_helper.from_array(np.array(offset, np.float32), "offset"))
    return bytes(model.SerializeToString())


def bundle_with(folder: Path, *, segmenter: float = OFFSET, gate: float = OFFSET, variant: str = "fp16") -> Bundle:
    """A bundle with a variant whose formulas have other offsets."""
    make_bundle(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for net, content in (
        ("segmenter", with_offset(segmenter_graph(64), segmenter)),
        ("gate", with_offset(gate_graph(32), gate)),
    ):
        manifest[net]["variants"][variant] = seal(folder, f"{net}_{variant}.onnx", content)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return load_bundle(folder)


def by(measured: Iterable[Measured], variant: str) -> list[Measured]:
    return [one for one in measured if one.variant == variant]


def f1_by_loops(maps: Sequence[Bool], truths: Sequence[Bool], px: int) -> float:
    """F1 within `px`, from the distances of pixels to pixels."""

    def near(points: Bool, others: Bool) -> int:
        at, to = np.argwhere(points), np.argwhere(others)
        if not len(to):
            return 0
        return sum(int(((to - one) ** 2).sum(axis=1).min() <= px * px) for one in at)

    hit = sum(near(found, truth) for found, truth in zip(maps, truths, strict=True))
    sought = sum(near(truth, found) for found, truth in zip(maps, truths, strict=True))
    precision = hit / sum(int(found.sum()) for found in maps)
    recall = sought / sum(int(truth.sum()) for truth in truths)
    return 2 * precision * recall / (precision + recall)


def map_by_hand(picture: UInt8, offset: float) -> UInt8:
    """The formula of a picture of one tile or less: continued by reflection, cut off again."""
    height, width = picture.shape[:2]
    tile = cv2.copyMakeBorder(picture, 0, 64 - height, 0, 64 - width, cv2.BORDER_REFLECT_101)
    return expected_probability(np.asarray(tile, np.uint8), offset)[:height, :width]


def test_a_variant_of_the_same_formulas_differs_by_nothing_and_passes(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b")
    certificate = certify(bundle, None, [judged()], calibration=())
    assert certificate.left_out == {}
    for one in certificate.measured:
        (figures,) = one.validation
        assert one.passed
        assert (figures.images, figures.gate_lost) == (6, 0)
        assert abs(figures.tolerance_f1_change or 0) < 1e-3
        assert figures.median_width_change_px is not None
        assert figures.median_width_change_px < 0.05
        assert one.stitched is not None
        assert one.stitched.overlap_px == 16
        assert one.stitched.max_difference <= 1, "an overlap above the receptive field makes stitched equal whole"
    assert {(one.variant, one.runtime.split()[0]) for one in certificate.measured} == {
        (variant, runtime) for variant in ("fp32", "fp16") for runtime in ("onnxruntime", "openvino")
    }
    assert {"onnxruntime-cuda", "tensorrt"} <= set(certificate.absent)
    files = {ref.file: ref.sha256 for ref in bundle.manifest.graphs("fp16")}
    assert certificate.covers("fp16", files)
    assert not certificate.covers("int8", files)
    assert not certificate.covers("fp16", {**files, "gate_fp16.onnx": "0" * 64})


def test_the_figures_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    offset = OFFSET + 6
    bundle = bundle_with(tmp_path / "b", segmenter=offset)
    pictures = [cracked_photo(index, (64, 50)[index % 2]) for index in range(4)]
    loads = [lambda i=image, m=mask: Picture(image_rgb=i, mask=m, cracked=True) for image, mask in pictures]
    certificate = certify(bundle, None, [JudgedSet(name="d", data="lines", load=loads)], calibration=())
    level = THRESHOLD * 255
    before = [map_by_hand(image, OFFSET) for image, _ in pictures]
    after = [map_by_hand(image, offset) for image, _ in pictures]
    truths = [mask for _, mask in pictures]
    flipped = sum(np.count_nonzero((a >= level) != (b >= level)) for a, b in zip(before, after, strict=True))
    assert flipped > 20
    (measured, *_) = by(certificate.measured, "fp16")
    (figures,) = measured.validation
    assert figures.flipped_share == pytest.approx(flipped / sum(one.size for one in before), rel=0.02)
    farthest = max(int(cv2.absdiff(a, b).max()) for a, b in zip(before, after, strict=True))
    assert abs(figures.max_difference - farthest) <= 2
    for px, value, change in (
        (0, figures.strict_f1, figures.strict_f1_change),
        (2, figures.tolerance_f1, figures.tolerance_f1_change),
    ):
        want = f1_by_loops([one >= level for one in after], truths, px)
        base = f1_by_loops([one >= level for one in before], truths, px)
        assert value == pytest.approx(want, abs=0.003)
        assert change == pytest.approx(want - base, abs=0.005)


def test_a_variant_that_finds_other_cracks_is_left_out_and_the_certificate_says_why(tmp_path: Path) -> None:
    certificate = certify(bundle_with(tmp_path / "b", segmenter=OFFSET + 6), None, [judged()], calibration=())
    assert not any(one.passed for one in by(certificate.measured, "fp16"))
    assert all(one.passed for one in by(certificate.measured, "fp32"))
    assert "F1 within 2 px on drawn: lines changes by" in certificate.left_out["fp16"]
    assert "at most 0.005 is allowed (onnxruntime" in certificate.left_out["fp16"]


def test_a_gate_that_stops_what_the_reference_passes_is_left_out(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path / "b", gate=OFFSET + 16)
    certificate = certify(bundle, None, [judged()], calibration=())
    (figures,) = by(certificate.measured, "fp16")[0].validation
    assert figures.gate_lost is not None
    assert figures.gate_lost > LIMITS["fp16"].gate_lost
    assert "gate" in certificate.left_out["fp16"]


def test_a_variant_that_no_runtime_loads_is_left_out(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    manifest = json.loads((folder / "manifest.json").read_text())
    for net in ("segmenter", "gate"):
        manifest[net]["variants"]["int8"] = seal(folder, f"{net}_int8.onnx", b"not a graph")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    certificate = certify(load_bundle(folder), None, [], calibration=())
    assert "cannot load it" in certificate.left_out["int8"]
    assert {one.variant for one in certificate.measured} == {"fp32"}


def test_a_bundle_gets_its_variants_from_its_fp32_graphs(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    before = load_bundle(folder).manifest
    out = tmp_path / "out"
    sealed = certify_bundle(folder, out, SETTINGS, pictures=Pictures())
    bundle = load_bundle(out)
    assert bundle.certificate == sealed.certificate
    assert set(bundle.manifest.segmenter.variants) | set(sealed.certificate.left_out) == {"fp32", "fp16", "int8"}
    assert bundle.manifest.golden == before.golden
    assert bundle.manifest.segmenter.threshold == before.segmenter.threshold
    assert sealed.certificate.calibration == ("rendered: 3 surfaces",)
    assert verify(out).bundle.manifest == bundle.manifest
    card = (out / "MODEL_CARD.md").read_text()
    assert "the bundle's own graphs, not torch" in card
    assert "a change against fp32, not against the trained network" in card
    itself = {(one.variant, one.runtime.split()[0]) for one in sealed.certificate.measured if "itself" in str(one.note)}
    assert itself == {("fp32", "onnxruntime")}
    again = certify_bundle(out, out, SETTINGS, pictures=Pictures(), overwrite=True)
    assert again == sealed, "the second time changes nothing"
    assert (out / "MODEL_CARD.md").read_text() == card
    assert card.count("## Variants") == 1


def test_pictures_given_as_folders_take_the_place_of_the_settings_sets(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    pairs = write_pairs(tmp_path / "mine", 3, edge=70)
    pictures = Pictures(calibrate=[pairs / "images"], validate=[pairs])
    sealed = certify_bundle(folder, tmp_path / "out", SETTINGS, pictures=pictures)
    assert sealed.certificate.calibration == ("images: 3 pictures",)
    assert [one.data for one in sealed.certificate.measured[0].validation] == ["mine: all pictures"]
    with pytest.raises(InputError, match="no such folder"):
        certify_bundle(folder, tmp_path / "x", SETTINGS, pictures=Pictures(validate=[tmp_path / "nothing"]))


def test_a_reference_that_does_not_answer_as_torch_did_is_no_bundle(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["golden"][0]["gate_probability"] = 0.25
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ExportError, match="fp32 does not answer as torch: the gate is off"):
        certify_bundle(folder, tmp_path / "out", SETTINGS, pictures=Pictures())
    assert not (tmp_path / "out").exists()


def test_an_unknown_operator_in_a_sealed_graph_is_named(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    model = segmenter_graph(64)
    model.graph.node[3].op_type = "Blur"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["segmenter"]["variants"]["fp32"] = seal(folder, "segmenter.onnx", model.SerializeToString())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"segmenter\.onnx: ONNX Runtime cannot load it.*Blur"):
        verify(folder)
    with pytest.raises(ExportError, match=r"segmenter: not a graph.*Blur"):
        certify_bundle(folder, tmp_path / "out", SETTINGS, pictures=Pictures())


def unwritable(tmp_path: Path) -> Path:
    """A folder in which nobody, not even root, may make another."""
    if os.geteuid() == 0:
        return Path("/proc/self/crackscout")
    (tmp_path / "locked").mkdir(mode=0o555)
    return tmp_path / "locked" / "b"


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    """The bundle that is asked for is none at all: had the work begun, that would be the fault."""
    with pytest.raises(OutputError, match="cannot be written"):
        certify_bundle(tmp_path / "no bundle", unwritable(tmp_path), SETTINGS, pictures=Pictures())
    with pytest.raises(OutputError, match="--overwrite"):
        certify_bundle(tmp_path / "no bundle", tmp_path, SETTINGS, pictures=Pictures())


def test_a_bundle_on_a_read_only_disk_is_read_and_not_replaced(small_disk: Path, tmp_path: Path) -> None:
    folder = make_bundle(small_disk / "b")
    make_read_only(small_disk)
    assert verify(folder).bundle.manifest.name == "tiny"
    with pytest.raises(OutputError, match=r"b: cannot be written \(Read-only file system\); choose another --out"):
        certify_bundle(folder, folder, SETTINGS, pictures=Pictures(), overwrite=True)
    only_fp32 = SETTINGS.model_copy(update={"variants": ("fp32",)})
    assert certify_bundle(folder, tmp_path / "out", only_fp32, pictures=Pictures()).manifest.name == "tiny"


def test_every_variant_is_measured_on_tensorrt_where_that_is(tmp_path: Path, nvidia_variables: dict[str, Any]) -> None:
    """On the second implementation of TensorRT's API, which computes what the plan holds; its engines are not kept."""
    folder = make_bundle(tmp_path / "b")
    (tmp_path / "few.yaml").write_text("name: few\ncalibration: {rendered: 2}\nvalidation: {rendered: 2}\n")
    (tmp_path / "empty").mkdir()
    done = crack(
        "crack-export", "certify", folder, "--out", tmp_path / "out", "--config", tmp_path / "few.yaml",
        cwd=tmp_path / "empty", **nvidia_variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("building TensorRT's engine of segmenter") >= 2, "minutes of silence look like a crash"
    certificate = load_bundle(tmp_path / "out").certificate
    assert certificate is not None
    assert "tensorrt" not in certificate.absent
    variants = {"fp32", "fp16", "int8"}
    assert {one.variant for one in certificate.measured if one.runtime == "tensorrt 10.3.0 A CPU"} == variants
    for one in certificate.measured:
        here = next(o for o in certificate.measured if (o.variant, o.runtime[:4]) == (one.variant, "onnx"))
        if one.runtime.startswith("tensorrt"):
            assert one.validation == here.validation
            assert one.golden == here.golden
    assert not list((tmp_path / "empty").iterdir())
    told = crack("crack-export", "verify", tmp_path / "out", **nvidia_variables)
    assert "not run: tensorrt 10.3.0; `crack-agent selftest --runtime tensorrt`" in told.stdout
