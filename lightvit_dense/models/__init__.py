"""Models: layers, backbones, necks, pre-training."""

from .backbones import VisionTransformer
from .classification import ClassificationHead, ClassificationPreprocessor, ImageClassifier
from .layer_depth import get_layer_id
from .layers import LayerNorm2d
from .necks import SimpleFeaturePyramid
from .preprocessors import ImagePreprocessor, MultiViewPreprocessor
from .pretraining import DINO, MAE, AttentionDistiller, MAEDecoder, MoCoV3, SimMIM

__all__ = [
    'DINO',
    'MAE',
    'AttentionDistiller',
    'ClassificationHead',
    'ClassificationPreprocessor',
    'ImageClassifier',
    'ImagePreprocessor',
    'LayerNorm2d',
    'MAEDecoder',
    'MoCoV3',
    'MultiViewPreprocessor',
    'SimMIM',
    'SimpleFeaturePyramid',
    'VisionTransformer',
    'get_layer_id',
]
