"""Backbones: image in, tokens or feature maps out."""

from .encoding import Encoding
from .hiera import Hiera
from .swin import SwinTransformer
from .timm_backbone import TimmBackbone
from .vit import VisionTransformer

__all__ = ['Encoding', 'Hiera', 'SwinTransformer', 'TimmBackbone', 'VisionTransformer']
