"""What holds for every test, alone or in one of the processes of ``make test`` (pytest-xdist)."""

import os
from collections.abc import Iterator
from pathlib import Path

if 'PYTEST_XDIST_WORKER' in os.environ:
    # One thread each, and as much for what they start: the cores are taken by the workers.
    os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = '1'

import numpy as np
import pytest
from PIL import Image

import lightvit_dense  # noqa: F401 - mmdet must find the operators in place
from tests.helpers.photos import photo

ROOT = Path(__file__).parents[1]
# Files of a minute, and the folder whose tests start processes: whoever gets one of them last is
# waited for by the others.
LONG = ('fake_cuda', 'test_demo_cli.py', 'cluster', 'test_tools', 'test_configs.py')
LONG += ('test_compat_distributed.py', 'test_resume.py', 'test_your_data.py')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first; the order is kept otherwise."""

    def rank(item: pytest.Item) -> int:
        parts = Path(item.path).parts
        return next((place for place, name in enumerate(LONG) if name in parts), len(LONG))

    items.sort(key=rank)


@pytest.fixture(autouse=True, scope='session')
def plain_configs() -> Iterator[None]:
    """Leave configs as mmengine writes them: yapf takes a second to make the same content nicer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (f'{text}\n', True))
        yield


@pytest.fixture(autouse=True, scope='session')
def watchdog() -> Iterator[None]:
    """End every Python process that a test starts after a while, with a dump of all its stacks."""
    with pytest.MonkeyPatch.context() as patch:
        for path in (ROOT, ROOT / 'tests' / 'watchdog'):
            patch.setenv('PYTHONPATH', str(path), prepend=os.pathsep)
        patch.setenv('TEST_PROCESS_SECONDS', '90')
        patch.setenv('PYTORCH_JIT', '0')  # torch compiles optimisers that nobody uses at its start
        yield


@pytest.fixture(scope='session')
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture for pipelines to read; its label map, bands of five classes, beside."""
    path, image = tmp_path_factory.mktemp('images') / 'cat.jpg', photo('cat')
    Image.fromarray(image).save(path)
    rows = np.arange(len(image), dtype=np.uint8)[:, None] // (len(image) // 5 + 1) + 1
    Image.fromarray(np.repeat(rows, image.shape[1], 1)).save(path.with_suffix('.png'))
    return path
