"""Pre-training methods and their parts."""

from .base import Pretrainer
from .dino import DINO
from .distillation import AttentionDistiller
from .embedding import EmbeddingTeacher
from .hiera_mae import HieraMAE, HieraMAEDecoder
from .mae import MAE, MAEDecoder
from .masking import Masking, random_masking
from .mocov3 import MoCoV3
from .momentum import MomentumPretrainer
from .seed import SEED
from .simmim import SimMIM
from .swin_simmim import SwinDecoder, SwinSimMIM
from .timm_teacher import TimmTeacher
