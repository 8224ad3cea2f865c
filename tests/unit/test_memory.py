"""Freed memory stays: counted by the pages that the system must bring in again."""

from __future__ import annotations

import mmap
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys
import numpy as np
from petechia.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(40_000_000, np.float32)  # 160 MB, taken and freed
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(40_000_000, np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(how: str) -> int:
    # Without large pages each fault brings one small one, and the count means the same on every machine.
    run = [sys.executable, "-c", PROGRAM, how]
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0", "PATH": ""}
    return int(subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_memory_that_was_freed_is_used_again() -> None:
    once = 160e6 / mmap.PAGESIZE
    assert _page_faults("leave") > 4 * once
    assert _page_faults("keep") < 0.1 * once
