"""OpenVINO on the CPU: faster than ONNX Runtime on many x86 machines. An extra: `pip install crackscout[openvino]`.

Computed in float32, whatever the variant: left to itself OpenVINO takes bfloat16 where the processor has it, and one
pixel in a hundred then answers up to 7 levels differently.
"""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, NetRef, Precision
from agent.errors import BundleError, InferenceError, RuntimeUnavailableError
from agent.infer.backend import GateScores
from agent.infer.tiles import NO_GATE, check_tiles, graph_file


class OpenVino:
    """A bundle on OpenVINO's CPU plugin.

    Args:
        bundle: with the variant.
        variant: of both networks.
        streams: calls that run at the same time, one thread each, >= 1.

    Raises:
        RuntimeUnavailableError: OpenVINO is not installed.
        BundleError: the bundle lacks the variant, a file was altered, or a graph is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, *, variant: Precision = "fp32", streams: int = 1) -> None:
        core = _core()
        manifest = bundle.manifest
        self._variant: Precision = variant
        self._segmenter = _Network(core, bundle, manifest.segmenter, variant, (("u8", 3),), streams)
        self._gate = (
            _Network(core, bundle, manifest.gate, variant, (("f32", 1), ("f32", 1)), streams) if manifest.gate else None
        )
        self._version = _version()

    @property
    def runtime(self) -> str:
        """For instance `openvino 2026.4.1 cpu f32`."""
        return f"openvino {self._version} cpu f32"

    @property
    def variant(self) -> Precision:
        """The variant that was loaded."""
        return self._variant

    def infer(self, tiles: UInt8) -> UInt8:
        """See `Backend.infer`."""
        (probability,) = self._segmenter.run(tiles)
        return np.asarray(probability, np.uint8)

    def gate(self, tiles: UInt8) -> GateScores:
        """See `Backend.gate`."""
        if self._gate is None:
            raise InferenceError(NO_GATE)
        probability, margin = self._gate.run(tiles)
        return GateScores(probability, margin)


class _Network:
    """One compiled graph, held to what the manifest promises; a request of its own for each calling thread."""

    def __init__(
        self,
        core: Any,  # noqa: ANN401 - the extra may be absent, and its types with it
        bundle: Bundle,
        net: NetRef,
        variant: Precision,
        outputs: tuple[tuple[str, int], ...],
        streams: int,
    ) -> None:
        ref = graph_file(bundle, net, variant)
        self._name = ref.file
        self._edge = net.tile_px
        self._local = threading.local()
        try:
            # from the bytes that were hashed: nothing can be swapped in between
            model = core.read_model(io.BytesIO(bundle.read(ref)))
            self._check(bundle, model, outputs)
            self._compiled = core.compile_model(model, "CPU", _options(streams))
        except RuntimeError as exc:  # OpenVINO raises nothing more particular
            raise BundleError(f"{bundle.path(ref)}: OpenVINO cannot load it ({_short(exc)})") from exc
        self._outputs = len(outputs)

    def run(self, tiles: UInt8) -> list[Any]:
        check_tiles(tiles, edge=self._edge, name=self._name)
        request = getattr(self._local, "request", None)
        try:
            if request is None:
                request = self._local.request = self._compiled.create_infer_request()
            results = request.infer([np.ascontiguousarray(tiles)], share_inputs=True)
            return [results[index].copy() for index in range(self._outputs)]
        except RuntimeError as exc:
            raise InferenceError(f"{self._name}: {_short(exc)}") from exc

    def _check(self, bundle: Bundle, model: Any, outputs: tuple[tuple[str, int], ...]) -> None:  # noqa: ANN401
        got_in = [(port.element_type.to_string(), str(port.partial_shape)) for port in model.inputs]
        got_out = [(port.element_type.to_string(), port.partial_shape.rank.get_length()) for port in model.outputs]
        if got_in != [("u8", f"[?,{self._edge},{self._edge},3]")] or got_out != list(outputs):
            raise BundleError(
                f"{bundle.folder / self._name}: takes {got_in} and gives {got_out}, but the manifest says "
                f"uint8 (N, {self._edge}, {self._edge}, 3) and {list(outputs)}; export the bundle again"
            )


def _options(streams: int) -> dict[str, str | int | bool]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": streams,
        "ENABLE_CPU_PINNING": False,
    }


def _core() -> Any:  # noqa: ANN401
    try:
        import openvino  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise RuntimeUnavailableError(
            f"runtime.name: openvino is not on this machine ({exc}); pip install 'crackscout[openvino]', "
            "or take onnxruntime"
        ) from exc
    return openvino.Core()


def _version() -> str:
    import openvino  # noqa: PLC0415 - an extra

    return str(openvino.__version__).split("-", maxsplit=1)[0]


def _short(exc: RuntimeError) -> str:
    """Return what OpenVINO says without the places in its sources."""
    lines = [line.strip() for line in str(exc).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("Exception from", "Check '")))[:300]
