"""Models: layers, backbones, necks, pre-training."""

from .backbones import VisionTransformer
from .layer_depth import get_layer_id
from .layers import LayerNorm2d
from .necks import SimpleFeaturePyramid
from .preprocessors import MultiViewPreprocessor
from .pretraining import MAE, AttentionDistiller, MAEDecoder

__all__ = [
    'MAE',
    'AttentionDistiller',
    'LayerNorm2d',
    'MAEDecoder',
    'MultiViewPreprocessor',
    'SimpleFeaturePyramid',
    'VisionTransformer',
    'get_layer_id',
]
