"""Models: layers, backbones, necks, pre-training and tasks; mmdet and mmseg load late."""

from lightvit_dense.utils.layer_depth import get_layer_id

from ..registry import MODELS, TASK_UTILS, register_late
from .backbones import Hiera, SwinTransformer, TimmBackbone, VisionTransformer
from .classification import (
    ClassificationHead,
    ClassificationPreprocessor,
    ImageClassifier,
    LogitDistiller,
    TimmClassifier,
)
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

register_late(MODELS, 'MaskRCNN', 'models.detectors.mask_rcnn')
register_late(MODELS, 'BoxHead', 'models.detectors.heads')
register_late(MODELS, 'MaskHead', 'models.detectors.heads')
register_late(MODELS, 'DetectionPreprocessor', 'models.detectors.batched')
register_late(MODELS, 'RPNHead', 'models.detectors.batched')
register_late(MODELS, 'RoIExtractor', 'models.detectors.batched')
register_late(MODELS, 'RoIHead', 'models.detectors.batched')
register_late(TASK_UTILS, 'MaxIoUAssigner', 'models.detectors.sampling')
register_late(MODELS, 'EncoderDecoder', 'models.segmentors.encoder_decoder')
register_late(MODELS, 'SegmentationPreprocessor', 'models.segmentors.preprocessor')
