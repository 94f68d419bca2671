"""A bundle on TensorRT: engines from the cache, one context and stream per worker."""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, NetRef, Precision
from agent.contract.engine import BatchProfile, BuildOptions, EngineKey, Machine
from agent.errors import EngineError
from agent.infer.cuda.driver import CudaDriver
from agent.infer.engine_cache import EngineCache
from agent.infer.tensorrt.engine import Engine, Lane, TensorSpec
from agent.infer.tiles import check_tiles, graph_file
from agent.infer.two_networks import Ports, TwoNetworks

TUNED_BATCH = 4
LARGEST_BATCH = 8  # more tiles in one call save nothing more and cost memory


def engine_key(bundle: Bundle, net: NetRef, variant: Precision, machine: Machine, options: BuildOptions) -> EngineKey:
    """Return the key of a network's engine on a machine.

    Raises:
        BundleError: the bundle lacks the variant.
    """
    return EngineKey(
        onnx_sha256=graph_file(bundle, net, variant).sha256,
        precision=variant,
        profile=BatchProfile(
            smallest=1, tuned=min(TUNED_BATCH, net.batch_max), largest=min(LARGEST_BATCH, net.batch_max)
        ),
        options=options,
        machine=machine,
    )


def runtime_name(machine: Machine) -> str:
    """Return `Backend.runtime` of TensorRT on a machine."""
    return f"tensorrt {machine.tensorrt} {machine.gpu}"


def networks(bundle: Bundle) -> list[NetRef]:
    """Return the bundle's networks, each of which has an engine of its own."""
    return [bundle.manifest.segmenter, *([bundle.manifest.gate] if bundle.manifest.gate else [])]


class TensorRt(TwoNetworks):
    """A bundle on TensorRT.

    Args:
        bundle: its golden tiles are for the caller to compare with.
        variant: of the networks.
        cache: where the engines are.
        machine: as it is now.
        options: that the engines were built with.
        driver: the GPU; belongs to the caller.
        workers: calls that may run at the same time; more wait.
        cuda_graph: see `Lane`.

    Raises:
        EngineError: an engine is not there; a faulty one is moved into quarantine.
        BundleError: the bundle lacks the variant.
        InferenceError: the GPU has not enough memory.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        variant: Precision,
        cache: EngineCache,
        machine: Machine,
        options: BuildOptions,
        driver: CudaDriver,
        workers: int = 1,
        cuda_graph: bool = False,
    ) -> None:
        self._machine, self._driver = machine, driver
        self.plans: dict[EngineKey, str] = {}  # sha256 of what was loaded
        engines: list[Engine] = []

        def loaded(net: NetRef, gives: Ports) -> _Lanes:
            key = engine_key(bundle, net, variant, machine, options)
            takes = TensorSpec(np.uint8, (net.tile_px, net.tile_px, 3))
            specs = [TensorSpec(np.dtype(kind).type, (net.tile_px,) * (rank - 1)) for kind, rank in gives]
            plan_sha256 = None
            try:
                plan = cache.read(key)
                plan_sha256 = hashlib.sha256(plan).hexdigest()
                engine = Engine(plan, name=net.variants[variant].file, takes=takes, gives=specs)
            except EngineError:
                if cache.holds(key):
                    with suppress(EngineError):  # in a read-only cache it stays; it is not loaded all the same
                        cache.reject(key, plan_sha256)
                raise
            self.plans[key] = plan_sha256
            engines.append(engine)
            return _Lanes(engine, driver, workers, cuda_graph=cuda_graph)

        driver.attach()
        super().__init__(bundle, variant, loaded)
        self.segmenter = engines[0]
        self.gate_engine = engines[1] if bundle.manifest.gate else None

    @property
    def runtime(self) -> str:
        """For instance `tensorrt 10.3.0 Orin`."""
        return runtime_name(self._machine)

    @property
    def driver(self) -> CudaDriver:
        """The GPU that it runs on."""
        return self._driver

    def close(self) -> None:
        """Give the GPU back; nothing may run any more."""
        del self._segmenter, self._gate, self.segmenter, self.gate_engine
        self._driver.close()


class _Lanes:
    """The workers' lanes of one engine."""

    def __init__(self, engine: Engine, driver: CudaDriver, workers: int, *, cuda_graph: bool) -> None:
        self._engine, self._driver = engine, driver
        self._free: queue.LifoQueue[Lane] = queue.LifoQueue()
        for _ in range(workers):
            self._free.put(Lane(engine, driver, cuda_graph=cuda_graph))

    def run(self, tiles: UInt8) -> list[np.ndarray]:
        check_tiles(tiles, edge=self._engine.takes.shape[0], name=self._engine.name)
        with self._lane() as lane:
            return lane.run(tiles)

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        lane = self._free.get()
        try:
            self._driver.attach()
            yield lane
        finally:
            self._free.put(lane)
