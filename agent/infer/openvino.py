"""OpenVINO on the CPU: faster than ONNX Runtime on many x86 machines. An extra: `pip install crackscout[openvino]`.

Computed in float32, whatever the variant: left to itself OpenVINO takes bfloat16 where the processor has it, and one
pixel in a hundred then answers up to 7 levels differently.
"""

from __future__ import annotations

import io
import threading
from typing import Any, Final

import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, NetRef, Precision
from agent.errors import BundleError, InferenceError, RuntimeUnavailableError
from agent.infer.tiles import check_tiles, graph_file
from agent.infer.two_networks import Port, Ports, TwoNetworks, check_ports

_KINDS: Final = {"u8": "uint8", "f32": "float32"}


class OpenVino(TwoNetworks):
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
        super().__init__(bundle, variant, lambda net, gives: _Network(core, bundle, net, variant, gives, streams))
        self._version = _version()

    @property
    def runtime(self) -> str:
        """For instance `openvino 2026.4.1 cpu f32`."""
        return f"openvino {self._version} cpu f32"


class _Network:
    """One compiled graph, held to what the manifest promises; a request of its own for each calling thread."""

    def __init__(
        self,
        core: Any,  # noqa: ANN401 - the extra may be absent, and its types with it
        bundle: Bundle,
        net: NetRef,
        variant: Precision,
        gives: Ports,
        streams: int,
    ) -> None:
        ref = graph_file(bundle, net, variant)
        self._name = ref.file
        self._edge = net.tile_px
        self._local = threading.local()
        try:
            # from the bytes that were hashed: nothing can be swapped in between
            model = core.read_model(io.BytesIO(bundle.read(ref)))
            self._check(bundle, model, gives)
            self._compiled = core.compile_model(model, "CPU", _options(streams))
        except RuntimeError as exc:  # OpenVINO raises nothing more particular
            raise BundleError(f"{bundle.path(ref)}: OpenVINO cannot load it ({_short(exc)})") from exc
        self._outputs = len(gives)

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

    def _check(self, bundle: Bundle, model: Any, gives: Ports) -> None:  # noqa: ANN401
        place = bundle.folder / self._name
        check_ports(place, self._edge, takes=_ports(model.inputs), gives=_ports(model.outputs), wanted=gives)


def _ports(ports: Any) -> list[Port]:  # noqa: ANN401
    return [
        (
            _KINDS.get(port.element_type.to_string(), port.element_type.to_string()),
            [size.get_length() if size.is_static else None for size in port.partial_shape],
        )
        for port in ports
    ]


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
