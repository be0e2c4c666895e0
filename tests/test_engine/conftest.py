from itertools import count

import pytest
from mmengine.config import Config

import lightvit_dense  # noqa: F401
from tests.helpers.toy_engine import clear_globals, write_config


@pytest.fixture(autouse=True)
def _fresh_globals(monkeypatch):
    """Every test begins without the named instances that Runners leave behind."""
    # mmengine sleeps for two seconds whenever a finite sampler comes to its end.
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
    yield
    clear_globals()


@pytest.fixture
def toy_config(tmp_path):
    """Load the toy config; keyword arguments as for toy_engine.write_config."""

    numbers = count()

    def make(**kwargs) -> Config:
        cfg = Config.fromfile(write_config(tmp_path, **kwargs))
        cfg.work_dir = str(tmp_path / f'work{next(numbers)}')
        return cfg

    return make
