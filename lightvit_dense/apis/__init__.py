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

_LATE = dict(load='loading', frozen_backbone='loading', Model='model')
_LATE |= dict(ClassificationInferencer='inferencers', DetectionInferencer='inferencers')
_LATE |= dict(SegmentationInferencer='inferencers', make_inferencer='inferencers')


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_LATE[name]}'), name)
