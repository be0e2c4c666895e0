"""What networks have learnt, seen from inside: features of layers, and what compares them."""

from .features import layer_features, layer_maps
from .images import ImageStream
from .models import Subject, load_backbone, load_subject
from .session import (
    Session,
    add_models,
    add_options,
    default_device,
    file_names,
    load_subjects,
    models_of,
    write_json,
)

__all__ = [
    'ImageStream',
    'Session',
    'Subject',
    'add_models',
    'add_options',
    'default_device',
    'file_names',
    'layer_features',
    'layer_maps',
    'load_backbone',
    'load_subject',
    'load_subjects',
    'models_of',
    'write_json',
]
