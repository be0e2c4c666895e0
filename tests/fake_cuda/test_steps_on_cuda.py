"""Every real config takes a step on a fake CUDA device, in each precision, and seldom waits.

Covered are preprocessing, forward pass, losses and backward pass of the whole model at its own size
(the two stages of Mask R-CNN with assignment, sampling and NMS, whose results are made up: half of
what could be found is found). The optimiser, hooks, loading and the kernels themselves are not.
"""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.fake_cuda.allowed import WAITS
from tests.fake_cuda.steps import take_steps
from tests.helpers.shipped_configs import CONFIGS, load, name_of, write_photograph

REAL = ('pretrain', 'imagenet', 'transfer', 'coco', 'ade20k', 'lasot')
# Of configs with the same model one is enough.
DISTINCT = {
    repr(load(path).model): path
    for path in reversed(CONFIGS)
    if name_of(path).split('/')[0] in REAL
}
PATHS = sorted(DISTINCT.values())


@pytest.fixture(scope='module')
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture for the pipelines to read."""
    return write_photograph(tmp_path_factory.mktemp('images'))


@pytest.mark.parametrize('path', PATHS, ids=name_of)
def test_a_step_in_each_precision(path: Path, photograph: Path) -> None:
    take_steps(path, photograph)


def test_every_pattern_is_of_use() -> None:
    names = [name_of(path) for path in PATHS]
    for pattern in WAITS:
        assert any(fnmatch(name, pattern) for name in names), pattern
