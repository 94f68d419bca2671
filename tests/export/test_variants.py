"""fp16 and INT8 are what TensorRT takes: strongly typed graphs, and QDQ without INT32 biases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.bundles import open_bundle
from agent.errors import ConfigError
from export.onnx_graph import ExportError, checked, checked_bytes, in_order, whole_picture
from export.variants import fp16, int8
from tests.support.bundles import gate_graph, segmenter_graph

SEGMENTER = (open_bundle("default").folder / "segmenter.onnx").read_bytes()
TILES = np.random.default_rng(0).integers(0, 256, (2, 512, 512, 3), np.uint8)


def model_of(graph: bytes) -> onnx.ModelProto:
    return onnx.load_from_string(graph)


@pytest.fixture(scope="module")
def half() -> onnx.ModelProto:
    return model_of(fp16(SEGMENTER))


@pytest.fixture(scope="module")
def quantised() -> onnx.ModelProto:
    return model_of(int8(SEGMENTER, TILES))


def interface(model: onnx.ModelProto) -> list[tuple[str, int, list[str | int]]]:
    values = [*model.graph.input, *model.graph.output]
    return [
        (v.name, v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in values
    ]


def test_every_variant_takes_and_gives_what_fp32_does(half: onnx.ModelProto, quantised: onnx.ModelProto) -> None:
    wanted = interface(model_of(SEGMENTER))
    assert wanted[0][1:] == (TensorProto.UINT8, ["batch", 512, 512, 3])
    assert interface(half) == interface(quantised) == wanted


@pytest.mark.parametrize("name", ["half", "quantised"])
def test_the_cast_comes_before_the_transpose(name: str, request: pytest.FixtureRequest) -> None:
    model: onnx.ModelProto = request.getfixturevalue(name)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.index("Cast") < kinds.index("Transpose")


def test_half_precision_holds_no_float32_weight_and_is_half_as_large(half: onnx.ModelProto) -> None:
    large = [weight for weight in half.graph.initializer if np.prod(weight.dims) > 8]
    assert {weight.data_type for weight in large} == {TensorProto.FLOAT16}
    assert half.ByteSize() < 0.55 * len(SEGMENTER)


def test_int8_is_signed_symmetric_by_channel_and_leaves_biases_in_float(quantised: onnx.ModelProto) -> None:
    graph = quantised.graph
    weights = {weight.name: weight for weight in graph.initializer}
    assert TensorProto.INT32 not in {weight.data_type for weight in weights.values()}
    pairs = Counter(node.op_type for node in graph.node)
    assert pairs["QuantizeLinear"] > 0
    for node in graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            zero = numpy_helper.to_array(weights[node.input[2]])
            assert zero.dtype == np.int8
            assert not zero.any(), "TensorRT takes symmetric ranges alone"
    given = {out: node for node in graph.node for out in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for node in convolutions[1:-1]:
        for source in node.input[:2]:
            assert given[source].op_type == "DequantizeLinear", node.name
        weight, scale = given[node.input[1]].input[:2]
        assert weights[weight].data_type == TensorProto.INT8
        assert list(weights[scale].dims) == [weights[weight].dims[0]], "one scale for each output channel"
    assert len(convolutions) == 22
    for node in (convolutions[0], convolutions[-1]):  # the ends stay in float
        assert node.input[1] in weights
        assert weights[node.input[1]].data_type == TensorProto.FLOAT


def test_a_weight_times_its_scale_is_the_weight_it_came_from_within_half_a_step(quantised: onnx.ModelProto) -> None:
    original = {w.name: numpy_helper.to_array(w) for w in model_of(SEGMENTER).graph.initializer}
    stored = {w.name: numpy_helper.to_array(w) for w in quantised.graph.initializer}
    compared = 0
    for node in quantised.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            levels, scale = stored[node.input[0]].astype(np.float64), stored[node.input[1]].astype(np.float64)
            weight = original[node.input[0].removesuffix("_quantized")]
            by_channel = scale.reshape(-1, 1, 1, 1)
            assert np.all(np.abs(levels * by_channel - weight) <= 0.5 * by_channel * (1 + 1e-5))
            compared += 1
    assert compared == 20


def test_calibration_without_pictures_is_refused() -> None:
    with pytest.raises(ConfigError, match="calibration: no pictures"):
        int8(SEGMENTER, TILES[:0])


def test_the_same_graph_and_pictures_give_the_same_bytes() -> None:
    graph = segmenter_graph(64).SerializeToString()
    assert fp16(graph) == fp16(graph)
    assert int8(SEGMENTER, TILES[:1]) == int8(SEGMENTER, TILES[:1])


def test_an_unknown_operator_is_named() -> None:
    model = segmenter_graph(64)
    model.graph.node[3].op_type = "Blur"
    with pytest.raises(ExportError, match=r"segmenter: not a graph.*Blur"):
        checked(model, "segmenter")


def test_shapes_that_contradict_each_other_are_refused() -> None:
    model = gate_graph(64)
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 7
    with pytest.raises(ExportError, match="gate: not a graph"):
        checked(model, "gate")


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(ExportError, match="gate: no ONNX graph"):
        checked_bytes(b"not a graph", "gate")


def test_weights_outside_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(segmenter_graph(64), str(path), save_as_external_data=True, location="w", size_threshold=0)
    with pytest.raises(ExportError, match="outside the file"):
        checked(onnx.load(path, load_external_data=False), "segmenter")


def test_a_weight_that_nothing_reads_is_left_out() -> None:
    model = segmenter_graph(64)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(9, np.float32), "training_head"))
    assert b"training_head" not in checked(model, "segmenter")


def test_nodes_in_any_order_are_put_in_one_that_works() -> None:
    model = segmenter_graph(64)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    assert [node.output[0] for node in in_order(model).graph.node] == [node.output[0] for node in nodes]
    model.graph.node.append(helper.make_node("Relu", ["nowhere"], ["r"], name="lost"))
    with pytest.raises(ExportError, match="Relu 'lost' takes what nothing gives"):
        in_order(model)


def test_the_whole_picture_s_graph_gives_the_tile_s_map_and_takes_other_sizes() -> None:
    def run(graph: bytes, picture: np.ndarray) -> np.ndarray:
        session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"tiles": picture})[0])

    whole = whole_picture(SEGMENTER)
    assert np.array_equal(run(whole, TILES[:1]), run(SEGMENTER, TILES[:1]))
    assert run(whole, TILES[:1, :256, :320]).shape == (1, 256, 320)
