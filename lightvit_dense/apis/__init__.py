"""The Python use of the library in a few lines: train, test, build a model, load it, use it.

The inferencers and ``load`` are imported when they are first asked for: training does without what
they need.
"""

from typing import TYPE_CHECKING, Any

from lightvit_dense.apis.build import build_model
from lightvit_dense.apis.configs import load_config
from lightvit_dense.apis.preflight import check_testing, check_training
from lightvit_dense.apis.testing import evaluate, test
from lightvit_dense.apis.training import train
from lightvit_dense.apis.tta import apply_tta
from lightvit_dense.apis.verification import read_expected, verify

if TYPE_CHECKING:
    from lightvit_dense.apis.inference import (
        ClassificationInferencer,
        DetectionInferencer,
        SegmentationInferencer,
        make_inferencer,
    )
    from lightvit_dense.apis.loading import Model, load

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
    'load',
    'load_config',
    'make_inferencer',
    'read_expected',
    'test',
    'train',
    'verify',
]


def __getattr__(name: str) -> Any:
    if name in ('Model', 'load'):
        from lightvit_dense.apis import loading

        return getattr(loading, name)
    if name in __all__:
        from lightvit_dense.apis import inference

        return getattr(inference, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
