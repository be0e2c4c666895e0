"""What holds for every test, wherever it is run.

``make test`` shares the files out among processes (pytest-xdist); a single test needs none of that.
"""

import os
from pathlib import Path

if 'PYTEST_XDIST_WORKER' in os.environ:
    # One thread each, and as much for what they start: the cores are taken by the workers.
    os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = '1'

import pytest

import lightvit_dense  # noqa: F401 - mmdet must find the operators in place

# Files of a minute, and the folder whose tests start processes: whoever gets one of them last is
# waited for by the others.
LONG = ('test_demo_cli.py', 'test_small_study_cli.py', 'test_tools', 'test_configs.py')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first; the order is kept otherwise."""

    def rank(item: pytest.Item) -> int:
        parts = Path(item.path).parts
        return next((place for place, name in enumerate(LONG) if name in parts), len(LONG))

    items.sort(key=rank)
