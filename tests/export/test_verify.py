"""verify: hashes, schema, and the golden tiles on the runtime; no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import BundleError
from export.verify import verify
from tests.support.bundles import make_bundle, seal
from tests.support.commands import ROOT, variables


def test_a_bundle_as_exported_is_verified(tiny: Path) -> None:
    found = verify(tiny)
    assert found.bundle.manifest.name == "tiny"
    fp32 = [one for one in found.answers if one.variant == "fp32"]
    assert {one.runtime.split()[0] for one in fp32} == {"onnxruntime", "openvino"}
    for one in fp32:
        assert (one.tiles, one.max_difference <= 1) == (2, True)
        assert one.max_gate_difference is not None
        assert one.max_gate_difference < 1e-4
    assert {one.variant for one in found.answers} == set(found.bundle.manifest.segmenter.variants)
    assert "covers what ships" in found.as_text()


def test_answers_far_from_the_sealed_ones_are_refused_though_every_hash_is_right(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    manifest = json.loads((folder / "manifest.json").read_text())
    name = manifest["golden"][0]["probability"]["file"]
    answer = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
    assert answer is not None
    answer[5, 5] ^= 8
    packed = cv2.imencode(".png", np.asarray(answer))[1].tobytes()
    manifest["golden"][0]["probability"] = seal(folder, name, packed)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"FAILED.*largest difference from torch 8 of 255"):
        verify(folder)


def test_a_gate_far_from_its_sealed_answer_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["golden"][0]["gate_probability"] = 0.25
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"FAILED.*the gate's 7\.5e-01"):
        verify(folder)


def test_verifying_needs_neither_torch_nor_train(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    blocked = (
        "import sys\n"
        "for name in ('torch', 'train', 'lightning', 'onnx'): sys.modules[name] = None\n"
        f"sys.argv = ['crack-export', 'verify', {str(folder)!r}]\n"
        "from export.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked], cwd=ROOT, env=variables(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 golden tiles" in done.stdout
