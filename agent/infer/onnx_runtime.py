"""ONNX Runtime: on the CPU the default, and the reference that other runtimes are compared with; on CUDA an option.

One thread per session call and no spinning: on a busy machine ONNX Runtime's own defaults cost 1.6 to 1.9 times as much
CPU. Parallelism comes from callers that share the session. A single thread also keeps replays bit for bit the same.

The CUDA provider needs the package onnxruntime-gpu in the place of onnxruntime (never both in one environment). ONNX
Runtime takes the CPU without an error where it cannot have the GPU: here that is one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import onnxruntime as ort

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, FileRef, NetRef, Precision
from agent.errors import BundleError, InferenceError, RuntimeUnavailableError
from agent.infer.tiles import check_tiles, graph_file
from agent.infer.two_networks import Port, Ports, TwoNetworks, check_ports

Provider = Literal["cpu", "cuda"]
_PROVIDERS: Final[dict[Provider, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_KINDS: Final = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OnnxRuntime(TwoNetworks):
    """A bundle on ONNX Runtime.

    Args:
        bundle: with the variant.
        variant: of both networks.
        provider: what computes.

    Raises:
        RuntimeUnavailableError: the provider is not to be had here.
        BundleError: the bundle lacks the variant, a file was altered, or a graph is not what the manifest says.
    """

    def __init__(self, bundle: Bundle, *, variant: Precision = "fp32", provider: Provider = "cpu") -> None:
        self._provider = provider
        super().__init__(bundle, variant, lambda net, gives: _Network(bundle, net, variant, gives, provider))

    @property
    def runtime(self) -> str:
        """For instance `onnxruntime 1.23.2 cpu`."""
        return f"onnxruntime {ort.__version__} {self._provider}"


class _Network:
    """One graph, held to what the manifest promises."""

    def __init__(
        self,
        bundle: Bundle,
        net: NetRef,
        variant: Precision,
        gives: Ports,
        provider: Provider,
    ) -> None:
        ref = graph_file(bundle, net, variant)
        self._name = ref.file
        self._edge = net.tile_px
        self._session = _session(bundle, ref, provider)
        self._check(bundle, gives)

    def run(self, tiles: UInt8) -> list[Any]:
        check_tiles(tiles, edge=self._edge, name=self._name)
        try:
            results: list[Any] = self._session.run(None, {self._input: np.ascontiguousarray(tiles)})
        except Exception as exc:  # ONNX Runtime has no public root of its errors
            raise InferenceError(f"{self._name}: {exc}") from exc
        return results

    def _check(self, bundle: Bundle, gives: Ports) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_ports(bundle.folder / self._name, self._edge, takes=_ports(inputs), gives=_ports(outputs), wanted=gives)
        self._input = inputs[0].name


def _ports(nodes: Sequence[ort.NodeArg]) -> list[Port]:
    return [
        (_KINDS.get(node.type, node.type), [size if isinstance(size, int) else None for size in node.shape])
        for node in nodes
    ]


def _session(bundle: Bundle, ref: FileRef, provider: Provider) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    wanted = _PROVIDERS[provider]
    try:
        with warnings.catch_warnings():  # that it has no such provider is an error below, not a warning here
            warnings.filterwarnings("ignore", message="Specified provider", category=UserWarning)
            # from the bytes that were hashed: nothing can be swapped in between
            session = ort.InferenceSession(bundle.read(ref), options, providers=[wanted])
    except BundleError:
        raise
    except Exception as exc:  # ONNX Runtime has no public root of its errors
        raise BundleError(f"{bundle.path(ref)}: ONNX Runtime cannot load it ({exc})") from exc
    if session.get_providers()[0] != wanted:
        raise RuntimeUnavailableError(
            f"runtime.name: ONNX Runtime {ort.__version__} cannot have {wanted} here and would compute on the CPU; "
            f"it has {', '.join(ort.get_available_providers())}. Install onnxruntime-gpu and CUDA, or take onnxruntime"
        )
    return session
