from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from agent.heap import keep_freed_memory

def pages(megapixels):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones((megapixels * 1_000_000, 3), np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = pages(12)
assert keep_freed_memory()
pages(12)
print(given_back, pages(12), pages(100))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_memory_of_a_frame_is_taken_from_the_kernel_once() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    given_back, kept, larger = map(int, done.stdout.split())
    assert kept < given_back / 10
    assert larger > kept, "a frame that is far larger than usual keeps nobody else's memory for ever"
