"""What the onnx package writes, our reader of its bytes understands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from agent.bundles import shipped_bundles
from agent.contract.onnx_file import keeps_weights_outside
from tests.support.bundles import segmenter_graph


def outside(name: str = "w") -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return tensor


def model(graph: onnx.GraphProto) -> bytes:
    return bytes(helper.make_model(graph).SerializeToString())


def graph(nodes: list[onnx.NodeProto], initializers: list[TensorProto]) -> onnx.GraphProto:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    return helper.make_graph(nodes, "g", [], [output], initializers)


def test_weights_inside_are_inside() -> None:
    assert not keeps_weights_outside(segmenter_graph(64).SerializeToString())
    for folder in shipped_bundles().values():
        for path in folder.glob("*.onnx"):
            assert not keeps_weights_outside(path.read_bytes()), path


def test_what_the_package_itself_saves_outside_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(
        segmenter_graph(64), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert keeps_weights_outside(path.read_bytes())


def test_they_are_seen_wherever_a_tensor_may_stand() -> None:
    constant = helper.make_node("Constant", [], ["y"], value=outside())
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])])
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    sparse = onnx.SparseTensorProto(values=outside(), dims=[4])
    with_sparse = graph([], [])
    with_sparse.sparse_initializer.append(sparse)
    function = helper.make_function("d", "f", [], ["y"], [constant], [helper.make_opsetid("", 18)])
    with_function = helper.make_model(graph([], []), functions=[function]).SerializeToString()
    assert keeps_weights_outside(model(graph([], [outside()])))
    assert keeps_weights_outside(model(graph([constant], [])))
    assert keeps_weights_outside(model(graph([choice], [])))
    assert keeps_weights_outside(model(with_sparse))
    assert keeps_weights_outside(with_function)


@pytest.mark.parametrize(
    "attribute",
    [
        onnx.AttributeProto(name="a", type=onnx.AttributeProto.TENSORS, tensors=[outside()]),
        onnx.AttributeProto(
            name="a", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=onnx.SparseTensorProto(values=outside())
        ),
        onnx.AttributeProto(
            name="a",
            type=onnx.AttributeProto.SPARSE_TENSORS,
            sparse_tensors=[onnx.SparseTensorProto(indices=outside())],
        ),
        onnx.AttributeProto(
            name="a", type=onnx.AttributeProto.GRAPHS, graphs=[onnx.GraphProto(initializer=[outside()])]
        ),
    ],
    ids=["tensors", "sparse tensor", "sparse tensors", "graphs"],
)
def test_they_are_seen_in_every_kind_of_attribute(attribute: onnx.AttributeProto) -> None:
    node = onnx.NodeProto(op_type="Any", output=["y"], attribute=[attribute])
    assert keeps_weights_outside(model(graph([node], [])))


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"\x08"])
def test_what_is_no_model_keeps_nothing_anywhere(content: bytes) -> None:
    assert not keeps_weights_outside(content)
