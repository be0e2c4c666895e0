"""Models: layers, backbones, necks, pre-training."""

from .backbones import Hiera, VisionTransformer
from .classification import (
    ClassificationHead,
    ClassificationPreprocessor,
    ImageClassifier,
    LogitDistiller,
    TimmClassifier,
)
from .layer_depth import get_layer_id
from .layers import LayerNorm2d
from .necks import SimpleFeaturePyramid
from .preprocessors import ImagePreprocessor, MultiViewPreprocessor
from .pretraining import (
    DINO,
    MAE,
    AttentionDistiller,
    HieraMAE,
    MAEDecoder,
    MoCoV3,
    SimMIM,
    TimmTeacher,
)

__all__ = [
    'DINO',
    'MAE',
    'AttentionDistiller',
    'ClassificationHead',
    'ClassificationPreprocessor',
    'Hiera',
    'HieraMAE',
    'ImageClassifier',
    'ImagePreprocessor',
    'LayerNorm2d',
    'LogitDistiller',
    'MAEDecoder',
    'MoCoV3',
    'MultiViewPreprocessor',
    'SimMIM',
    'SimpleFeaturePyramid',
    'TimmClassifier',
    'TimmTeacher',
    'VisionTransformer',
    'get_layer_id',
]
