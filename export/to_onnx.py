"""A torch module as the bytes of an ONNX file: weights inside, nothing in it about the machine that wrote it."""

from __future__ import annotations

import logging
import warnings
from typing import Final

import torch
from torch import nn

from export.onnx_graph import ExportError, checked

OPSET: Final = 18


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
    except torch.onnx.errors.OnnxExporterError as exc:
        raise ExportError(f"{name}: cannot be written as ONNX ({exc})") from exc
    return checked(program.model_proto, name)
