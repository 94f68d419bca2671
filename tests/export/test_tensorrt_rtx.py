"""Every ONNX file that ships is parsed and built by TensorRT for RTX, whose parser and builder need no GPU.

Its engines run on neither TensorRT nor a Jetson; this shows that the graphs are ones that TensorRT takes. One process
for each, as the library keeps a logger for as long as it is loaded.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from agent.bundles import shipped_bundles
from agent.contract.bundle import load_bundle
from export.variants import int8
from tests.support.bundles import segmenter_graph
from tests.support.needs import missing

BUILD = """
import json, sys
import tensorrt_rtx as trt

class Log(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
        self.lines = []
    def log(self, severity, text):
        if severity <= trt.ILogger.Severity.ERROR:
            self.lines.append(text)

path, profile = sys.argv[1], json.loads(sys.argv[2])
log = Log()
builder = trt.Builder(log)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, log)
parsed = parser.parse(open(path, "rb").read())
errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
plan = None
if parsed:
    config = builder.create_builder_config()
    if profile:
        shapes = builder.create_optimization_profile()
        shapes.set_shape(network.get_input(0).name, *map(tuple, profile))
        config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
ports = [network.get_input(i) for i in range(network.num_inputs)] + [
    network.get_output(i) for i in range(network.num_outputs)]
print(json.dumps({"parsed": parsed, "bytes": 0 if plan is None else plan.nbytes, "errors": errors + log.lines,
                  "types": [port.dtype.name for port in ports]}))
"""


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        if sys.platform != "linux" or platform.machine() != "x86_64":
            pytest.skip("tensorrt-rtx has wheels for x86-64 Linux alone")
        missing("tensorrt-rtx is not installed; `make dev` does it")


def build(path: Path, profile: list[list[int]] | None) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(path), json.dumps(profile)],
        cwd=path.parent, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def profile_of(edge: int, batch_max: int) -> list[list[int]]:
    return [[count, edge, edge, 3] for count in (1, 1, batch_max)]


SHIPPED = [
    pytest.param(folder, net, variant, id=f"{name} {net} {variant}")
    for name, folder in shipped_bundles().items()
    for net, ref in (("segmenter", load_bundle(folder).manifest.segmenter), ("gate", load_bundle(folder).manifest.gate))
    if ref is not None
    for variant in ref.variants
]


@pytest.mark.parametrize(("folder", "net", "variant"), SHIPPED)
def test_what_ships_is_parsed_and_built(folder: Path, net: str, variant: str) -> None:
    manifest = load_bundle(folder).manifest
    ref = manifest.segmenter if net == "segmenter" else manifest.gate
    assert ref is not None
    file = {str(name): one for name, one in ref.variants.items()}[variant]
    told = build(folder / file.file, profile_of(ref.tile_px, ref.batch_max))
    assert told["errors"] == []
    assert told["bytes"] > 100_000
    assert told["types"] == (["UINT8", "UINT8"] if net == "segmenter" else ["UINT8", "FLOAT", "FLOAT"])


@pytest.mark.parametrize("net", ["segmenter", "gate"])
@pytest.mark.parametrize("name", shipped_bundles())
def test_int8_as_we_make_it_is_parsed_and_built_whether_or_not_it_ships(name: str, net: str, tmp_path: Path) -> None:
    """A certificate may leave INT8 out for its accuracy; a bundle of somebody else's networks may hold it."""
    bundle = load_bundle(shipped_bundles()[name])
    ref = bundle.manifest.segmenter if net == "segmenter" else bundle.manifest.gate
    assert ref is not None
    tiles = np.random.default_rng(0).integers(0, 256, (1, ref.tile_px, ref.tile_px, 3), np.uint8)
    content = int8(bundle.read(ref.variants["fp32"]), tiles)
    (tmp_path / "int8.onnx").write_bytes(content)
    told = build(tmp_path / "int8.onnx", profile_of(ref.tile_px, ref.batch_max))
    assert told["errors"] == []
    assert told["types"] == (["UINT8", "UINT8"] if net == "segmenter" else ["UINT8", "FLOAT", "FLOAT"])
    assert told["bytes"] > 100_000
    graph = onnx.load_from_string(content).graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    assert len(convolutions) > 2
    for node in convolutions[1:-1]:  # what was built is INT8, and no fp32 graph by that name
        weight = made_by[node.input[1]]
        assert weight.op_type == made_by[node.input[0]].op_type == "DequantizeLinear"
        assert kinds[weight.input[0]] == onnx.TensorProto.INT8


def test_a_batch_of_any_size_without_a_profile_is_refused_by_the_builder() -> None:
    told = build(shipped_bundles()["default"] / "segmenter.onnx", None)
    assert told["parsed"]
    assert told["bytes"] == 0
    assert any("optimization profile" in line for line in told["errors"])


def test_an_unknown_operator_is_named_by_the_parser(tmp_path: Path) -> None:
    model = segmenter_graph(64)
    model.graph.node[3].op_type = "Blur"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    told = build(tmp_path / "m.onnx", profile_of(64, 2))
    assert not told["parsed"]
    assert any("Blur" in line for line in told["errors"])


def test_the_check_would_see_the_quantiser_s_own_defaults(tmp_path: Path) -> None:
    """INT32 biases are what ONNX Runtime writes unless told otherwise, and what TensorRT refuses."""
    from onnxruntime.quantization import quantize_static

    from export.variants import _Tiles

    folder = shipped_bundles()["default"]
    tiles = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 3), np.uint8)
    quantize_static(folder / "segmenter.onnx", tmp_path / "m.onnx", _Tiles("tiles", tiles))
    told = build(tmp_path / "m.onnx", profile_of(512, 16))
    assert told["bytes"] == 0
    assert told["errors"]
