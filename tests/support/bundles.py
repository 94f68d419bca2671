"""A tiny sealed bundle whose networks are known formulas, written with onnx alone: no torch, and an oracle by hand.

The segmenter calls a pixel crack as far as it is darker than the mean of its 9x9 neighbourhood; the gate calls a tile
crack by the darkest such pixel. Real graphs, on the real runtime.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, load_bundle

WINDOW: Final = 9  # of the mean; the receptive field, px
GAIN: Final = 0.25  # logits per grey level
OFFSET: Final = 4.0  # logits at no contrast, negated
THRESHOLD: Final = 0.5


def make_bundle(folder: Path, *, tile: int = 64, overlap: int = 16, gate: bool = True, downscale: int = 2) -> Path:
    """Write a bundle with a `tile` px segmenter and, if wanted, a gate at 1/`downscale`."""
    (folder / "golden").mkdir(parents=True)
    threshold = {"value": THRESHOLD, "chosen": "by hand"}
    net = {"architecture": "darker than its neighbourhood", "parameters": 1, "threshold": threshold}
    segmenter = seal(folder, "segmenter.onnx", segmenter_graph(tile).SerializeToString())
    gate_edge = tile // downscale
    gate_net = (
        {
            **net,
            "variants": {"fp32": seal(folder, "gate.onnx", gate_graph(gate_edge).SerializeToString())},
            "tile_px": gate_edge,
            "downscale": downscale,
        }
        if gate
        else None
    )
    picture = golden_tile(tile)
    manifest = {
        "schema": "bundle/1",
        "name": "tiny",
        "licence": "Apache-2.0",
        "segmenter": {
            **net,
            "variants": {"fp32": segmenter},
            "tile_px": tile,
            "overlap_px": overlap,
            "stride_px": 1,
            "receptive_field_px": WINDOW,
        },
        "gate": gate_net,
        "training": [],
        "metrics": [],
        "golden": [
            {
                "tile": seal(folder, "golden/0.png", _png(picture[:, :, ::-1])),
                "probability": seal(folder, "golden/0_probability.png", _png(expected_probability(picture))),
                "gate_probability": 1.0 if gate else None,
            }
        ],
        "card": seal(folder, "MODEL_CARD.md", b"# tiny\n"),
        "versions": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def with_variant(folder: Path, variant: str) -> Bundle:
    """Give a bundle one more variant, the same formulas in a file of its own, and read it again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for net in ("segmenter", "gate"):
        if manifest[net]:
            content = (folder / f"{net}.onnx").read_bytes()
            manifest[net]["variants"][variant] = seal(folder, f"{net}_{variant}.onnx", content)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return load_bundle(folder)


def seal(folder: Path, name: str, content: bytes) -> dict[str, str]:
    """Write a file and return its line in the manifest."""
    (folder / name).write_bytes(content)
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}


def golden_tile(edge: int) -> UInt8:
    """A light tile with a dark line."""
    picture = np.full((edge, edge, 3), 200, np.uint8)
    picture[edge // 2 : edge // 2 + 2] = 60
    return picture


def expected_probability(picture: UInt8, offset: float = OFFSET) -> UInt8:
    """The segmenter's formula by another route: OpenCV's box filter, borders counted by what is there."""
    grey = picture.astype(np.float64).mean(axis=2)
    box = {"ddepth": -1, "ksize": (WINDOW, WINDOW), "normalize": False, "borderType": cv2.BORDER_CONSTANT}
    mean = cv2.boxFilter(grey, **box) / cv2.boxFilter(np.ones_like(grey), **box)  # type: ignore[call-overload]
    probability = 1 / (1 + np.exp(-(GAIN * (mean - grey) - offset)))
    return np.asarray(np.round(probability * 255), np.uint8)


def segmenter_graph(edge: int | None) -> onnx.ModelProto:
    """The segmenter for `edge` px tiles; None for any size."""
    nodes, constants = _contrast()
    nodes += [
        helper.make_node("Sigmoid", ["logit"], ["p"]),
        helper.make_node("Mul", ["p", "full"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["rounded"]),
        helper.make_node("Squeeze", ["rounded", "axis1"], ["squeezed"]),
        helper.make_node("Cast", ["squeezed"], ["probability"], to=TensorProto.UINT8),
    ]
    constants |= {"full": np.float32(255), "axis1": np.array([1])}
    output = helper.make_tensor_value_info("probability", TensorProto.UINT8, ["n", edge or "h", edge or "w"])
    return _model(nodes, constants, edge, [output])


def gate_graph(edge: int) -> onnx.ModelProto:
    """The gate for `edge` px tiles."""
    nodes, constants = _contrast()
    nodes += [
        helper.make_node("ReduceMax", ["logit", "axes123"], ["margin"], keepdims=0),
        helper.make_node("Sigmoid", ["margin"], ["probability"]),
    ]
    constants |= {"axes123": np.array([1, 2, 3])}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("probability", "margin")]
    return _model(nodes, constants, edge, outputs)


def _contrast() -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    pad = WINDOW // 2
    nodes = [
        helper.make_node("Cast", ["tiles"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["nchw", "axis1"], ["grey"], keepdims=1),
        helper.make_node(
            "AveragePool", ["grey"], ["mean"], kernel_shape=[WINDOW, WINDOW], pads=[pad] * 4, count_include_pad=0
        ),
        helper.make_node("Sub", ["mean", "grey"], ["darker"]),
        helper.make_node("Mul", ["darker", "gain"], ["gained"]),
        helper.make_node("Sub", ["gained", "offset"], ["logit"]),
    ]
    return nodes, {"axis1": np.array([1]), "gain": np.float32(GAIN), "offset": np.float32(OFFSET)}


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], edge: int | None, outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    tiles = helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", edge or "h", edge or "w", 3])
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [tiles], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _png(picture: UInt8) -> bytes:
    return bytes(cv2.imencode(".png", picture)[1])


def put_certificate(
    folder: Path, variant: str, *, passed: bool = True, sha256: str | None = None, runtime: str = "onnxruntime"
) -> None:
    """Put a certificate of one measurement beside the bundle and seal it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    refs = [manifest[net]["variants"] for net in ("segmenter", "gate")]
    measurements = {("fp32", "onnxruntime", True), (variant, "onnxruntime", passed or runtime != "onnxruntime")}
    if runtime != "onnxruntime":
        measurements.add((variant, runtime, passed))
    measured: list[dict[str, object]] = [
        {
            "variant": name,
            "runtime": where if " " in where else f"{where} 1 cpu",
            "files": {ref[name]["file"]: sha256 or ref[name]["sha256"] for ref in refs},
            "golden": {
                "tiles": 1, "max_difference": 0, "differing_share": 0, "flipped_share": 0, "max_gate_difference": 0,
            },
            "validation": [],
            "stitched": None,
            "reason": None if ok else "F1 falls",
            "passed": ok,
        }
        for name, where, ok in measurements
    ]  # fmt: skip
    certificate = {
        "schema": "certificate/1", "bundle": "tiny", "reference": "r", "limits": {}, "calibration": [],
        "measured": measured, "left_out": {}, "absent": {},
    }  # fmt: skip
    manifest["certificate"] = seal(folder, "certificate.json", json.dumps(certificate).encode())
    (folder / "manifest.json").write_text(json.dumps(manifest))
