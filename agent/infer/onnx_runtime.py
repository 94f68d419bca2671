"""ONNX Runtime: on the CPU the default, and the reference that other runtimes are compared with; on CUDA an option.

One thread per session call and no spinning: on a busy machine ONNX Runtime's own defaults cost 1.6 to 1.9 times as much
CPU. Parallelism comes from callers that share the session. A single thread also keeps replays bit for bit the same.

The CUDA provider needs the package onnxruntime-gpu in the place of onnxruntime (never both in one environment). ONNX
Runtime takes the CPU without an error where it cannot have the GPU: here that is one.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Literal

import numpy as np
import onnxruntime as ort

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, FileRef, NetRef, Precision
from agent.errors import BundleError, InferenceError, RuntimeUnavailableError
from agent.infer.backend import GateScores
from agent.infer.tiles import NO_GATE, check_tiles, graph_file

Provider = Literal["cpu", "cuda"]
_PROVIDERS: Final[dict[Provider, str]] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime:
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
        manifest = bundle.manifest
        self._variant: Precision = variant
        self._provider = provider
        self._segmenter = _Network(bundle, manifest.segmenter, variant, _SEGMENTER_OUTPUTS, provider)
        self._gate = _Network(bundle, manifest.gate, variant, _GATE_OUTPUTS, provider) if manifest.gate else None

    @property
    def runtime(self) -> str:
        """For instance `onnxruntime 1.23.2 cpu`."""
        return f"onnxruntime {ort.__version__} {self._provider}"

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


_SEGMENTER_OUTPUTS = (("tensor(uint8)", 3),)
_GATE_OUTPUTS = (("tensor(float)", 1), ("tensor(float)", 1))


class _Network:
    """One graph, held to what the manifest promises."""

    def __init__(
        self,
        bundle: Bundle,
        net: NetRef,
        variant: Precision,
        outputs: tuple[tuple[str, int], ...],
        provider: Provider,
    ) -> None:
        ref = graph_file(bundle, net, variant)
        self._name = ref.file
        self._edge = net.tile_px
        self._session = _session(bundle, ref, provider)
        self._check(bundle, outputs)

    def run(self, tiles: UInt8) -> list[Any]:
        check_tiles(tiles, edge=self._edge, name=self._name)
        try:
            results: list[Any] = self._session.run(None, {self._input: np.ascontiguousarray(tiles)})
        except Exception as exc:  # ONNX Runtime has no public root of its errors
            raise InferenceError(f"{self._name}: {exc}") from exc
        return results

    def _check(self, bundle: Bundle, outputs: tuple[tuple[str, int], ...]) -> None:
        inputs = self._session.get_inputs()
        self._input = inputs[0].name if inputs else ""
        got_in = [(i.type, list(i.shape[1:])) for i in inputs]
        got_out = [(o.type, len(o.shape)) for o in self._session.get_outputs()]
        if got_in != [("tensor(uint8)", [self._edge, self._edge, 3])] or got_out != list(outputs):
            raise BundleError(
                f"{bundle.folder / self._name}: takes {got_in} and gives {got_out}, but the manifest says "
                f"uint8 (N, {self._edge}, {self._edge}, 3) and {list(outputs)}; export the bundle again"
            )


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
