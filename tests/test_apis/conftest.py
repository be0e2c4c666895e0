import pytest
import torch

from tests.helpers.small_dense import build, classifier_config, detector_config, segmentor_config
from tests.helpers.toy_engine import clear_globals, write_config


@pytest.fixture(autouse=True)
def _fresh_globals():
    yield
    clear_globals()


@pytest.fixture
def write(tmp_path):
    """Write a toy config; keyword arguments as for toy_engine.write_config."""
    return lambda **kwargs: write_config(tmp_path, **kwargs)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Draw the same random numbers in every run."""
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def detector():
    cfg = detector_config()
    return cfg, build(cfg)


@pytest.fixture(scope='session')
def segmentor():
    cfg = segmentor_config()
    return cfg, build(cfg)


@pytest.fixture(scope='session')
def classifier():
    cfg = classifier_config()
    return cfg, build(cfg)
