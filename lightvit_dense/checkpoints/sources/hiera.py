"""Hiera (Ryali et al. 2023): Meta's classifiers and masked autoencoders, and timm's."""

from .base import Source

_BLOCK = r'blocks\.\d+\.proj\.'
_EXTRAS = r'decoder_|mask_token$|multi_scale_fusion_heads\.'


HIERA_MAE = Source('Hiera MAE', drop=_EXTRAS, marks=(r'encoder_norm\.', _BLOCK))
HIERA_META = Source('Hiera (Meta)', marks=(r'head\.projection\.', _BLOCK))
HIERA_TIMM = Source('Hiera (timm)', marks=(r'head\.(norm|fc)\.', _BLOCK))
HIERA = Source('plain Hiera (ours)', marks=(_BLOCK,))
