"""Pre-training methods and their parts."""

from .base import Pretrainer
from .decoder import MAEDecoder
from .distillation import AttentionDistiller
from .hiera_decoder import HieraMAEDecoder
from .hiera_mae import HieraMAE
from .mae import MAE
from .masking import Masking, random_masking

__all__ = [
    'MAE',
    'AttentionDistiller',
    'HieraMAE',
    'HieraMAEDecoder',
    'MAEDecoder',
    'Masking',
    'Pretrainer',
    'random_masking',
]
