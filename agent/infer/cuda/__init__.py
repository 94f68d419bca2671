"""The GPU: a probe that cannot crash, a driver seam with two implementations, the kernels that keep a frame on it."""
