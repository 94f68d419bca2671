"""Checkpoints to a bundle: the runtime answers as torch does, and everything in it is sealed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from agent.contract.bundle import load_bundle
from agent.errors import BundleError, ConfigError, OutputError
from agent.infer.onnx_runtime import OnnxRuntime
from export.bundle import write_bundle
from export.graphs import SegmenterGraph
from tests.export.conftest import TINY, Checkpoints
from train.checkpoint import load_checkpoint
from train.data.crops import to_tensor


def pictures(count: int, edge: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(4).integers(0, 256, (count, edge, edge, 3), dtype=np.uint8)


def test_the_runtime_answers_within_one_level_of_torch(tiny: Path, checkpoints: Checkpoints) -> None:
    runtime = OnnxRuntime(load_bundle(tiny))
    tiles = pictures(3, 64)
    net, _ = load_checkpoint(checkpoints.segmenter)
    with torch.no_grad():
        expected = (net(to_tensor(tiles)).sigmoid()[:, 0] * 255).round().numpy()
    got = runtime.infer(tiles)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(float) - expected).max() <= 1
    assert np.ptp(got) > 20, "a net that says the same everywhere would prove nothing"


def test_the_gate_answers_as_torch_does(tiny: Path, checkpoints: Checkpoints) -> None:
    runtime = OnnxRuntime(load_bundle(tiny))
    tiles = pictures(3, 32)
    net, _ = load_checkpoint(checkpoints.gate)
    with torch.no_grad():
        logits = net(to_tensor(tiles))
    scores = runtime.gate(tiles)
    np.testing.assert_allclose(scores.margin, logits[:, 1] - logits[:, 0], atol=1e-4)
    np.testing.assert_allclose(scores.probability, logits.softmax(1)[:, 1], atol=1e-5)


def test_each_tile_is_answered_for_itself_whatever_the_batch(tiny: Path) -> None:
    runtime = OnnxRuntime(load_bundle(tiny))
    tiles = pictures(5, 64)
    alone = np.concatenate([runtime.infer(tile[None]) for tile in tiles])
    assert np.abs(runtime.infer(tiles).astype(int) - alone).max() <= 1


def test_the_cast_comes_before_the_transpose_and_all_weights_are_inside(tiny: Path) -> None:
    for name in ("segmenter.onnx", "gate.onnx"):
        model = onnx.load(tiny / name, load_external_data=False)
        assert [node.op_type for node in model.graph.node][:2] == ["Cast", "Transpose"]
        assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
        assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
        assert [opset.version for opset in model.opset_import if not opset.domain] == [18]
    assert not list(tiny.glob("*.data"))


def test_nothing_in_a_bundle_tells_of_the_machine_that_made_it(tiny: Path) -> None:
    for path in tiny.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(Path(__file__).resolve().parents[2]).encode() not in content, path
            assert b"site-packages" not in content, path
            assert str(tiny.parent).encode() not in content, path


def test_the_same_checkpoints_give_the_same_bytes(tiny: Path, checkpoints: Checkpoints, tmp_path: Path) -> None:
    write_bundle([checkpoints.gate, checkpoints.segmenter], tmp_path / "again", TINY)
    names = sorted(path.relative_to(tiny) for path in tiny.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for name in names:
        assert (tiny / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_flipped_byte_inside_a_weight_is_refused(tiny: Path, tmp_path: Path) -> None:
    for name in ("segmenter.onnx", "gate.onnx"):
        folder = tmp_path / name
        copied(tiny, folder)
        content = bytearray((folder / name).read_bytes())
        model = onnx.load(folder / name)
        weight = max((tensor for tensor in model.graph.initializer), key=lambda tensor: len(tensor.raw_data))
        content[content.index(weight.raw_data) + len(weight.raw_data) // 2] ^= 0x40
        (folder / name).write_bytes(content)
        onnx.checker.check_model(onnx.load(folder / name))  # nothing but the hash can tell
        with pytest.raises(BundleError, match=f"{name}: sha256"):
            load_bundle(folder)


def copied(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def test_golden_tiles_hold_torch_s_answers_and_some_have_a_crack(tiny: Path, checkpoints: Checkpoints) -> None:
    bundle = load_bundle(tiny)
    net, _ = load_checkpoint(checkpoints.segmenter)
    graph = SegmenterGraph(net).eval()
    assert len(bundle.manifest.golden) == 2
    for golden in bundle.manifest.golden:
        tile = cv2.imread(str(bundle.path(golden.tile)), cv2.IMREAD_COLOR_RGB)
        answer = cv2.imread(str(bundle.path(golden.probability)), cv2.IMREAD_UNCHANGED)
        assert tile is not None
        assert answer is not None
        with torch.no_grad():
            expected = graph(torch.from_numpy(tile[None])).numpy()[0]
        assert np.array_equal(answer, expected)
        assert golden.gate_probability is not None


def test_the_manifest_and_the_card_say_what_the_checkpoints_say(tiny: Path, checkpoints: Checkpoints) -> None:
    manifest = load_bundle(tiny).manifest
    net, passport = load_checkpoint(checkpoints.segmenter)
    assert passport.validation is not None
    assert manifest.segmenter.threshold.value == pytest.approx(passport.validation.threshold, abs=1e-6)
    assert manifest.segmenter.parameters == sum(p.numel() for p in net.parameters())
    assert manifest.segmenter.receptive_field_px == net.receptive_field_px
    assert {one.name for one in manifest.training} == {"rendered", "pairs", "classes"}
    figures = {(metric.name, metric.data.split(",")[0]) for metric in manifest.metrics}
    assert {("segment.ods", "pairs"), ("gate.tile_recall", "classes")} <= figures
    stitched = {metric.name for metric in manifest.metrics if metric.name.startswith("stitched")}
    assert stitched == {"stitched_flipped", "stitched_farthest", "stitched_mean"}, "the overlap is below the field"
    card = (tiny / "MODEL_CARD.md").read_text()
    assert "everything" in card
    assert all(one.licence in card for one in manifest.training)
    assert f"validation pictures with torch {torch.__version__.split('+')[0]}." in card
    assert "not against the trained network" not in card
    certificate = load_bundle(tiny).certificate
    assert certificate is not None
    assert not any("itself" in str(one.note) for one in certificate.measured)


def test_a_segmenter_alone_makes_a_bundle_and_a_gate_alone_makes_none(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert write_bundle([checkpoints.segmenter], tmp_path / "a", TINY).manifest.gate is None
    with pytest.raises(ConfigError, match="no segmenter"):
        write_bundle([checkpoints.gate], tmp_path / "b", TINY)
    with pytest.raises(ConfigError, match="a second segmenter"):
        write_bundle([checkpoints.segmenter, checkpoints.segmenter], tmp_path / "c", TINY)
    assert not (tmp_path / "b").exists()


def test_a_tiling_that_does_not_fit_the_networks_is_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of the network's stride, 8 px"):
        write_bundle([checkpoints.segmenter], tmp_path / "a", TINY.model_copy(update={"overlap_px": 12}))
    with pytest.raises(ConfigError, match="trained for tiles of 64 px"):
        write_bundle(
            [checkpoints.segmenter, checkpoints.gate], tmp_path / "b", TINY.model_copy(update={"tile_px": 128})
        )


def test_a_folder_that_exists_is_replaced_only_when_told(checkpoints: Checkpoints, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="--overwrite"):
        write_bundle([checkpoints.segmenter], tmp_path / "old", TINY)
    assert (tmp_path / "old" / "mine.txt").exists()
    write_bundle([checkpoints.segmenter], tmp_path / "old", TINY, overwrite=True)
    assert not (tmp_path / "old" / "mine.txt").exists()
    assert load_bundle(tmp_path / "old").manifest.name == "tiny"
