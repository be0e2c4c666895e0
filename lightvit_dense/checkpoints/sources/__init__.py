"""The kinds of checkpoints that are read; a new one is one more row of :data:`SOURCES`."""

from .base import Context, Source, State, Step
from .contrastive import DINO, MOCO_V3
from .hiera import HIERA, HIERA_MAE, HIERA_META, HIERA_TIMM
from .huggingface import HUGGING_FACE
from .mae import MAE, MAE_LITE
from .plain import ENCODER, FULL_MODEL, PLAIN
from .simmim import SIMMIM
from .swin import SWIN
from .tasks import DETECTRON2, OSTRACK

SOURCES: tuple[Source, ...] = (
    *SWIN,
    DETECTRON2,
    OSTRACK,
    DINO,
    FULL_MODEL,
    MOCO_V3,
    *MAE_LITE,
    SIMMIM,
    ENCODER,
    *HUGGING_FACE,
    HIERA_MAE,
    HIERA_META,
    HIERA_TIMM,
    MAE,
    HIERA,
    PLAIN,
)
"""In the order in which they are tried; the first that recognises a file takes it."""

__all__ = ['SOURCES', 'Context', 'Source', 'State', 'Step']
