"""Our own files and timm's, whose names are ours."""

from .base import Source

MAE_EXTRAS = r'decoder_|mask_token$|decoder\.'

FULL_MODEL = Source('full model', prefix='backbone.')
ENCODER = Source('encoder of a pre-trainer', prefix='encoder.', drop=MAE_EXTRAS)
PLAIN = Source('plain backbone (ours or timm)')
