"""A torch module as the bytes of an ONNX file: weights inside, nothing in it about the machine that wrote it."""

from __future__ import annotations

import logging
import warnings
from typing import Final

import onnx
import torch
from torch import nn

from agent.errors import CrackscoutError

OPSET: Final = 18


class ExportError(CrackscoutError):
    """A network cannot be brought into the form that a bundle holds."""


def to_onnx(graph: nn.Module, *, tile_px: int, output_names: tuple[str, ...], name: str) -> bytes:
    """Return an ONNX file: input `tiles` uint8 (batch, tile_px, tile_px, 3), batch dynamic.

    The same weights give the same bytes: the exporter's notes on source files and call stacks are taken out.

    Args:
        graph: in eval mode, takes such tiles.
        tile_px: edge of the input, px.
        output_names: of what it returns.
        name: of the graph.

    Raises:
        ExportError: the exporter refuses it, or the checker refuses what came out.
    """
    example = torch.zeros((2, tile_px, tile_px, 3), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():  # both notes are on torch's own insides
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=["tiles"],
                output_names=list(output_names),
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                verbose=False,
            )
        if program is None:
            raise ExportError(f"{name}: torch's exporter gave nothing")
        model = _anonymous(program.model_proto, name)
        onnx.checker.check_model(model, full_check=True)  # with shape inference
    except (
        torch.onnx.errors.OnnxExporterError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as exc:
        raise ExportError(f"{name}: cannot be written as ONNX ({exc})") from exc
    outside = [tensor.name for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ExportError(f"{name}: weights outside the file ({outside[0]}), which no hash would cover")
    return bytes(model.SerializeToString(deterministic=True))


def _anonymous(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Take out what does not belong to the network: stack traces with paths, notes, value names of the inside."""
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.graph.name = name
    clean.doc_string = ""
    clean.graph.doc_string = ""
    del clean.metadata_props[:]
    del clean.graph.metadata_props[:]
    del clean.graph.value_info[:]
    for node in clean.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*clean.graph.input, *clean.graph.output, *clean.graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
    return onnx.shape_inference.infer_shapes(clean, strict_mode=True)
