"""The kernels of `kernels.cu` as calls, with the shapes of their twins in `agent.infer.cuda.twins`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.infer.cuda.driver import CudaDriver, Extent, Pointer
from agent.infer.cuda.nvrtc import KERNELS, compile_kernels

BLOCK: Final[Extent] = (64, 4, 1)
LARGEST_BATCH: Final = 65535  # tiles lie on the grid's third axis


class FrameKernels:
    """Compiled for the driver's GPU and loaded.

    Args:
        driver: the GPU.
        cache: folder in which the cubin is kept; None compiles anew.

    Raises:
        RuntimeUnavailableError: no NVRTC on this machine.
        EngineError: the kernels do not compile.
        InferenceError: the driver does not take them.
    """

    def __init__(self, driver: CudaDriver, *, cache: Path | None = None) -> None:
        self._driver = driver
        cubin = compile_kernels(driver.gpu.compute_capability, cache=cache)
        self._kernels = driver.kernels(cubin, KERNELS)

    def cut_tiles(
        self,
        frame: Pointer,
        hw: tuple[int, int],
        origins: Pointer,
        count: int,
        *,
        size: int,
        tiles: Pointer,
        stream: int,
    ) -> None:
        """Cut `count` tiles out of the frame; see `twins.cut_tiles`."""
        arguments = [frame, *hw, origins, size, tiles]
        self._launch("cut_tiles", _grid(3 * size, size, count), arguments, stream)

    def reduce_tiles(
        self,
        frame: Pointer,
        hw: tuple[int, int],
        origins: Pointer,
        count: int,
        *,
        edge: int,
        factor: int,
        tiles: Pointer,
        stream: int,
    ) -> None:
        """Cut and reduce `count` tiles; see `twins.reduce_tiles`."""
        arguments = [frame, *hw, origins, edge, factor, tiles]
        self._launch("reduce_tiles", _grid(3 * edge, edge, count), arguments, stream)

    def stitch_maps(
        self, maps: Pointer, owned: Pointer, count: int, *, size: int, width: int, probability: Pointer, stream: int
    ) -> None:
        """Put what `count` maps own into the frame's map; see `twins.stitch_maps`."""
        arguments = [maps, owned, size, width, probability]
        self._launch("stitch_maps", _grid(size, size, count), arguments, stream)

    def _launch(self, name: str, grid: Extent, arguments: list[int], stream: int) -> None:
        if grid[2]:
            self._driver.launch(self._kernels[name], grid=grid, block=BLOCK, arguments=arguments, stream=stream)


def _grid(columns: int, rows: int, count: int) -> Extent:
    return -(-columns // BLOCK[0]), -(-rows // BLOCK[1]), count
