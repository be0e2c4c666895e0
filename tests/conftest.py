"""What holds for every test, wherever it is run.

``make test`` shares the files out among processes (pytest-xdist); a single test needs none of that.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
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
        yield


@pytest.fixture(scope='session')
def run_ranks() -> Callable[..., None]:
    """Return a function that runs a worker script as two ranks of one job on the CPU."""

    def run(worker: str, *arguments: object) -> None:
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = str(server.getsockname()[1])
        command = [sys.executable, worker, *map(str, arguments)]
        common = os.environ | dict(CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1')
        common |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port, WORLD_SIZE='2')
        both = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started = [
            subprocess.Popen(command, env=common | dict(RANK=rank, LOCAL_RANK=rank), **both)
            for rank in '01'
        ]
        output = [process.communicate()[0] for process in started]
        assert [process.returncode for process in started] == [0, 0], '\n'.join(output)

    return run


@pytest.fixture(scope='session')
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture for pipelines to read; its label map, bands of five classes, beside."""
    path, image = tmp_path_factory.mktemp('images') / 'cat.jpg', photo('cat')
    Image.fromarray(image).save(path)
    rows = np.arange(len(image), dtype=np.uint8)[:, None] // (len(image) // 5 + 1) + 1
    Image.fromarray(np.repeat(rows, image.shape[1], 1)).save(path.with_suffix('.png'))
    return path
