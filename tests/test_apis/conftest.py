import pytest
import torch

import lightvit_dense  # noqa: F401
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
