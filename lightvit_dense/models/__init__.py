"""Models: layers, backbones, necks, pre-training, classifiers, detectors, segmentors.

Detectors and segmentors are imported when they are first built: mmdet and mmseg take seconds to
import, and pre-training does without them.
"""

from typing import Any

from ..registry import MODELS
from .backbones import Hiera, SwinTransformer, TimmBackbone, VisionTransformer
from .classification import (
    ClassificationHead,
    ClassificationPreprocessor,
    ImageClassifier,
    LogitDistiller,
    TimmClassifier,
)
from .layer_depth import get_layer_id
from .layers import LayerNorm2d
from .necks import MultiDepthPyramid, ScaledFeaturePyramid, SimpleFeaturePyramid
from .preprocessors import ImagePreprocessor, MultiViewPreprocessor
from .pretraining import (
    DINO,
    MAE,
    SEED,
    AttentionDistiller,
    EmbeddingTeacher,
    HieraMAE,
    MAEDecoder,
    MoCoV3,
    SimMIM,
    SwinDecoder,
    SwinSimMIM,
    TimmTeacher,
)
from .test_time import DetectionTTA, SegmentationTTA

__all__ = [
    'DINO',
    'MAE',
    'SEED',
    'AttentionDistiller',
    'ClassificationHead',
    'ClassificationPreprocessor',
    'DetectionTTA',
    'EmbeddingTeacher',
    'Hiera',
    'HieraMAE',
    'ImageClassifier',
    'ImagePreprocessor',
    'LayerNorm2d',
    'LogitDistiller',
    'MAEDecoder',
    'MoCoV3',
    'MultiDepthPyramid',
    'MultiViewPreprocessor',
    'ScaledFeaturePyramid',
    'SegmentationTTA',
    'SimMIM',
    'SimpleFeaturePyramid',
    'SwinDecoder',
    'SwinSimMIM',
    'SwinTransformer',
    'TimmBackbone',
    'TimmClassifier',
    'TimmTeacher',
    'VisionTransformer',
    'get_layer_id',
]


@MODELS.register_module(name='MaskRCNN')
def _build_mask_rcnn(*args: Any, **kwargs: Any) -> Any:
    """Import the class, which takes this function's place in the registry, and build it."""
    from .detectors.mask_rcnn import MaskRCNN

    return MaskRCNN(*args, **kwargs)


@MODELS.register_module(name='EncoderDecoder')
def _build_encoder_decoder(*args: Any, **kwargs: Any) -> Any:
    """Import the class, which takes this function's place in the registry, and build it."""
    from .segmentors.encoder_decoder import EncoderDecoder

    return EncoderDecoder(*args, **kwargs)


@MODELS.register_module(name='SegmentationPreprocessor')
def _build_segmentation_preprocessor(*args: Any, **kwargs: Any) -> Any:
    """Import the class, which takes this function's place in the registry, and build it."""
    from .segmentors.preprocessor import SegmentationPreprocessor

    return SegmentationPreprocessor(*args, **kwargs)
