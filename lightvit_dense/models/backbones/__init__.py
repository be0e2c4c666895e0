"""Backbones: image in, tokens or feature maps out."""

from .vit import VisionTransformer

__all__ = ['VisionTransformer']
