"""The same network at a lower precision: another ONNX graph, since TensorRT's networks are strongly typed.

fp16: every tensor between the first cast and the last is half precision. INT8: quantise/dequantise pairs (QDQ) around
the convolutions, with the options that TensorRT accepts: signed, symmetric, weights by channel, biases left in float
(an INT32 bias is refused: "input has type Int32 but must have type ..."). The first convolution, which sees raw pixels,
and the last, which decides, stay in float: a fourteenth of the work of the segmenter that ships, and of its error about
a third.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from agent.contract.arrays import UInt8
from agent.contract.certificate import Precision
from agent.errors import ConfigError
from export.onnx_graph import ExportError, checked, in_order

QUANTISED: Final = ("Conv",)  # where the time goes; what lies between stays in float

Make: TypeAlias = "Callable[[bytes, UInt8 | None], bytes]"


def fp16(graph: bytes, _tiles: UInt8 | None = None) -> bytes:
    """Return the graph in half precision, inputs and outputs as they were.

    Raises:
        ExportError: it cannot be brought into that form.
    """
    model = onnx.load_from_string(graph)
    try:
        half = convert_float_to_float16(model, keep_io_types=True)
    except (ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ExportError(f"{model.graph.name}: cannot be written in half precision ({exc})") from exc
    return checked(in_order(half), model.graph.name)


def int8(graph: bytes, tiles: UInt8 | None) -> bytes:
    """Return the graph with its convolutions in INT8, as QDQ.

    Args:
        graph: in fp32.
        tiles: (N, H, W, 3) of the network's own size, N >= 1; the ranges of its tensors are taken from these.

    Raises:
        ConfigError: no tiles.
        ExportError: it cannot be brought into that form.
    """
    if tiles is None or not len(tiles):
        raise ConfigError("calibration: no pictures; INT8 takes its ranges from some")
    model = onnx.load_from_string(graph)
    name = model.graph.name
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(graph)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)  # it advises to run a preparation that the exporter has done
        try:
            quantize_static(
                source,
                target,
                _Tiles(model.graph.input[0].name, tiles),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=_ends(model),
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "AddQDQPairToWeight": False,
                },
            )
        except (ValueError, RuntimeError, onnx.checker.ValidationError) as exc:
            raise ExportError(f"{name}: cannot be quantised ({exc})") from exc
        finally:
            logging.getLogger().setLevel(level)
        quantised = onnx.load(target)
    quantised.graph.name = name
    return checked(in_order(quantised), name)


def _ends(model: onnx.ModelProto) -> list[str]:
    """Return the names of the first and the last convolution, where there are more than two."""
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    return [names[0], names[-1]] if len(names) > 2 else []


MAKERS: Final[Mapping[Precision, Make]] = {"fp16": fp16, "int8": int8}


class _Tiles(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Calibration pictures, one at a time."""

    def __init__(self, name: str, tiles: UInt8) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter({name: np.ascontiguousarray(tile[None])} for tile in tiles)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch; None at the end."""
        return next(self._feeds, None)
