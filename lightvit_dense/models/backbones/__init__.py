"""Backbones: image in, tokens or feature maps out."""

from .base import Backbone, Encoding
from .hiera import Hiera
from .swin import SwinTransformer
from .timm_backbone import TimmBackbone
from .vit import VisionTransformer
