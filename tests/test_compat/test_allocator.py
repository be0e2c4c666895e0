"""The allocator's settings, seen from outside: page faults of a process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from lightvit_dense.compat.allocator import keep_freed_memory
import numpy as np
assert {keep} is False or keep_freed_memory()
np.ones(2_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    out = subprocess.run(
        [sys.executable, '-c', FAULTS.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(out.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the settings are glibc ones')
def test_a_large_block_is_faulted_in_once() -> None:
    # numpy's arrays of 16 MB are 3906 pages each, or 8 huge ones.
    assert faults(keep=True) < 20
    assert faults(keep=False) > 100
