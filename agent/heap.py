"""Memory of frames, kept from one to the next.

glibc hands a block of more than 32 MB, which a frame of 12 megapixels is, straight back to the kernel when it is freed,
and has the next frame's zeroed page by page: measured, half of what decoding a photo costs. So blocks of up to
`LARGEST_BYTES` stay with the process, which then needs its peak's memory for as long as it runs.
"""

from __future__ import annotations

import ctypes
from typing import Final

LARGEST_BYTES: Final = 256 << 20  # 85 megapixels; what is larger comes and goes as before
KEPT_BYTES: Final = 512 << 20  # free at the heap's end, before some of it is given back
_TRIM_THRESHOLD: Final = -1  # see mallopt(3)
_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """Keep the memory of large blocks for the next ones; return whether this C library can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
