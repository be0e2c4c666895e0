"""The Python use of the library in a few lines: train, test, build a model."""

from lightvit_dense.apis.build import build_model
from lightvit_dense.apis.configs import load_config
from lightvit_dense.apis.preflight import check_testing, check_training
from lightvit_dense.apis.testing import test
from lightvit_dense.apis.training import train
from lightvit_dense.apis.verification import read_expected, verify

__all__ = [
    'build_model',
    'check_testing',
    'check_training',
    'load_config',
    'read_expected',
    'test',
    'train',
    'verify',
]
