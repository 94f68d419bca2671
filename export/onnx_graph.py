"""What every graph of a bundle must be: checked, self-contained, and silent about the machine that wrote it."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError

from agent.contract.onnx_file import keeps_weights_outside
from agent.errors import CrackscoutError


class ExportError(CrackscoutError):
    """A network cannot be brought into the form that a bundle holds."""


def checked(model: onnx.ModelProto, name: str) -> bytes:
    """Return the bytes of a graph that onnx's checker and its strict shape inference accept; the same ones every time.

    What does not belong to the network is taken out: stack traces with paths, notes, weights that nothing reads (of a
    head that only training used), value names of the inside.

    Raises:
        ExportError: an unknown operator, shapes that contradict each other, weights outside the file.
    """
    if keeps_weights_outside(model.SerializeToString()):
        raise ExportError(f"{name}: keeps weights outside the file, which no hash would cover")
    try:
        clean = onnx.shape_inference.infer_shapes(_anonymous(model, name), strict_mode=True)
        onnx.checker.check_model(clean, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ExportError(f"{name}: not a graph that a bundle can hold ({exc})") from exc
    return bytes(clean.SerializeToString(deterministic=True))


def checked_bytes(graph: bytes, name: str) -> bytes:
    """Return a graph that is at hand as bytes, checked again; see `checked`.

    Raises:
        ExportError: it cannot be read, or see `checked`.
    """
    try:
        model = onnx.load_from_string(graph)
    except DecodeError as exc:
        raise ExportError(f"{name}: no ONNX graph ({exc})") from exc
    return checked(model, name)


def whole_picture(graph: bytes) -> bytes:
    """Return a segmenter's graph without its fixed input size, for maps of whole pictures.

    Raises:
        ExportError: the network holds the size in its inside.
    """
    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        for place, dim in enumerate(value.type.tensor_type.shape.dim[1:3]):
            dim.dim_param = "hw"[place]
    return checked(model, model.graph.name)


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with each node behind those whose results it takes; converters leave them as they fell.

    Raises:
        ExportError: a node takes what nothing gives.
    """
    graph = model.graph
    known = {"", *(value.name for value in (*graph.input, *graph.initializer))}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise ExportError(f"{graph.name}: {waiting[0].op_type} {waiting[0].name!r} takes what nothing gives")
        ordered += ready
        known.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(ordered)
    return result


def _anonymous(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    graph = clean.graph
    graph.name = name
    clean.doc_string = ""
    graph.doc_string = ""
    del clean.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    read = {taken for node in graph.node for taken in node.input}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for value in [*graph.input, *graph.output, *graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
    return clean
