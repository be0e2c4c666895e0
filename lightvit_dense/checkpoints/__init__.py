"""Checkpoints: one door in, one format out.

Importing the package also makes mmengine's own loading of local files safe.
"""

from .classifier import load_classifier
from .containers import CONTAINERS, Opened, load_state_dict, open_checkpoint, unwrap
from .convert import SOURCES, Converted, Source, convert
from .errors import CheckpointError
from .export import save_backbone, save_huggingface, save_timm
from .fitting import fit_checkpoint
from .initializer import PretrainedBackbone, PretrainedClassifier
from .io import read_checkpoint
from .loader import LoadReport, load_backbone
from .relative_bias import resize_relative_bias
from .resize import resize_patch_embed, resize_pos_embed, resize_rel_pos
from .safe_loading import install
from .teachers import EmbeddingWeights, TimmWeights

__all__ = [
    'CONTAINERS',
    'SOURCES',
    'CheckpointError',
    'Converted',
    'EmbeddingWeights',
    'LoadReport',
    'Opened',
    'PretrainedBackbone',
    'PretrainedClassifier',
    'Source',
    'TimmWeights',
    'convert',
    'fit_checkpoint',
    'install',
    'load_backbone',
    'load_classifier',
    'load_state_dict',
    'open_checkpoint',
    'read_checkpoint',
    'resize_patch_embed',
    'resize_pos_embed',
    'resize_rel_pos',
    'resize_relative_bias',
    'save_backbone',
    'save_huggingface',
    'save_timm',
    'unwrap',
]

install()
