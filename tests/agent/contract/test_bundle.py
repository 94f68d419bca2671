from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.contract.bundle import load_bundle
from agent.errors import BundleError


@pytest.fixture
def folder(tiny_bundle_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_sealed_bundle_opens(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.manifest.name == "tiny"
    assert len(bundle.sha256) == 64


@pytest.mark.parametrize(
    "name", ["segmenter.onnx", "gate.onnx", "golden/0.png", "golden/0_probability.png", "MODEL_CARD.md"]
)
def test_one_flipped_bit_in_any_file_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{path.name}: sha256 .* is not the manifest's .*copy the bundle again"):
        load_bundle(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "gate.onnx").unlink()
    with pytest.raises(BundleError, match=r"gate\.onnx.*No such file"):
        load_bundle(folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model bundle here"):
        load_bundle(tmp_path)


def test_a_future_schema_says_which_and_what_to_do(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(schema="bundle/2"))
    with pytest.raises(BundleError, match=r"'bundle/2'.*reads 'bundle/1'.*update crackscout"):
        load_bundle(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"schema": "bundle/1"}'])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda m: m["segmenter"].update(tile_px=8), "segmenter.tile_px", id="a tile too small"),
        pytest.param(lambda m: m["segmenter"].update(overlap_px=64), "overlap_px=64", id="tiles do not advance"),
        pytest.param(lambda m: m["segmenter"].update(stride_px=24), "stride_px=24", id="off the net's grid"),
        pytest.param(lambda m: m["segmenter"]["threshold"].update(value=1.5), "threshold.value", id="no probability"),
        pytest.param(lambda m: m["gate"].update(downscale=4), "gate.tile_px=32", id="the gate sees another tile"),
        pytest.param(lambda m: m.update(colour="red"), "colour", id="an unknown key"),
        pytest.param(lambda m: m["card"].update(file="../card.md"), "inside the bundle", id="a path that leads out"),
        pytest.param(lambda m: m["card"].update(file="/etc/hosts"), "inside the bundle", id="an absolute path"),
        pytest.param(lambda m: m["segmenter"]["variants"].clear(), "fp32", id="no reference variant"),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    folder: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=told):
        load_bundle(folder)
