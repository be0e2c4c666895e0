"""What networks have learnt, seen from inside: features of layers, and what compares them."""

from .features import layer_features, layer_maps
from .images import ImageStream
from .models import Subject, load_backbone, load_subject

__all__ = [
    'ImageStream',
    'Subject',
    'layer_features',
    'layer_maps',
    'load_backbone',
    'load_subject',
]
