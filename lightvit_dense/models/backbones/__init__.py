"""Backbones: image in, tokens or feature maps out."""

from .encoding import Encoding
from .vit import VisionTransformer

__all__ = ['Encoding', 'VisionTransformer']
