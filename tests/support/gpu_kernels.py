"""Runs each kernel on arrays: up, launch, down."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.contract.arrays import Int32, UInt8
from agent.infer.cuda.driver import CudaDriver, Pointer
from agent.infer.cuda.kernels import FrameKernels


def cut(driver: CudaDriver, kernels: FrameKernels, frame: UInt8, origins: Int32, size: int) -> UInt8:
    """See `twins.cut_tiles`."""
    stream = driver.stream()
    frame_there, origins_there = put(driver, frame, stream), put(driver, origins, stream)
    tiles = np.zeros((len(origins), size, size, 3), np.uint8)
    there = driver.allocate(tiles.nbytes)
    kernels.cut_tiles(frame_there, frame.shape[:2], origins_there, len(origins), size=size, tiles=there, stream=stream)
    return get(driver, tiles, there, stream)


def reduced(driver: CudaDriver, kernels: FrameKernels, frame: UInt8, origins: Int32, edge: int, factor: int) -> UInt8:
    """See `twins.reduce_tiles`."""
    stream = driver.stream()
    frame_there, origins_there = put(driver, frame, stream), put(driver, origins, stream)
    tiles = np.zeros((len(origins), edge, edge, 3), np.uint8)
    there = driver.allocate(tiles.nbytes)
    kernels.reduce_tiles(
        frame_there, frame.shape[:2], origins_there, len(origins),
        edge=edge, factor=factor, tiles=there, stream=stream,
    )  # fmt: skip
    return get(driver, tiles, there, stream)


def stitched(driver: CudaDriver, kernels: FrameKernels, maps: UInt8, owned: Int32, hw: tuple[int, int]) -> UInt8:
    """See `twins.stitch_maps`."""
    stream = driver.stream()
    maps_there, owned_there = put(driver, maps, stream), put(driver, owned, stream)
    probability = np.zeros(hw, np.uint8)
    there = driver.allocate(probability.nbytes)
    driver.fill(there, 0, probability.nbytes, stream)
    kernels.stitch_maps(
        maps_there, owned_there, len(maps), size=maps.shape[1], width=hw[1], probability=there, stream=stream
    )
    return get(driver, probability, there, stream)


def put(driver: CudaDriver, array: NDArray[Any], stream: int) -> Pointer:
    """Copy an array to the GPU."""
    there = driver.allocate(array.nbytes)
    here = driver.pinned(array.nbytes)
    here.view(array.dtype).reshape(array.shape)[...] = array
    driver.upload(there, here, stream)
    driver.wait(stream)
    return there


def get(driver: CudaDriver, like: UInt8, there: Pointer, stream: int) -> UInt8:
    """Copy from the GPU into an array like this one."""
    here = driver.pinned(like.nbytes)
    driver.download(here, there, stream)
    driver.wait(stream)
    return here.reshape(like.shape).copy()
