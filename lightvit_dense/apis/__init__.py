"""Train, test, build, load and use models; what training does without is imported late."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightvit_dense.apis.build import build_model
from lightvit_dense.apis.configs import load_config
from lightvit_dense.apis.preflight import check_testing, check_training
from lightvit_dense.apis.testing import evaluate, test
from lightvit_dense.apis.training import train
from lightvit_dense.apis.tta import apply_tta
from lightvit_dense.apis.verification import read_expected, verify

if TYPE_CHECKING:
    from lightvit_dense.apis.inferencers import (
        ClassificationInferencer,
        DetectionInferencer,
        SegmentationInferencer,
        make_inferencer,
    )
    from lightvit_dense.apis.loading import frozen_backbone, load
    from lightvit_dense.apis.model import Model

__all__ = [
    'ClassificationInferencer',
    'DetectionInferencer',
    'Model',
    'SegmentationInferencer',
    'apply_tta',
    'build_model',
    'check_testing',
    'check_training',
    'evaluate',
    'frozen_backbone',
    'load',
    'load_config',
    'make_inferencer',
    'read_expected',
    'test',
    'train',
    'verify',
]


_LATE = dict(load='loading', frozen_backbone='loading', Model='model')


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_LATE.get(name, "inferencers")}'), name)
