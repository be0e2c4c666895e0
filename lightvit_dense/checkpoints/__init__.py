"""Checkpoints: one door in, one format out.

Importing the package also makes mmengine's own loading of local files safe.
"""

from lightvit_dense.errors import CheckpointError

from .classifier import load_classifier
from .containers import CONTAINERS, Opened, load_state_dict, open_checkpoint, unwrap
from .convert import Converted, convert
from .export import save_backbone, save_huggingface, save_timm
from .initializer import PretrainedBackbone, PretrainedClassifier, fit_checkpoint
from .io import install, read_checkpoint
from .loader import LoadReport, load_backbone
from .resize import resize_patch_embed, resize_pos_embed, resize_rel_pos, resize_relative_bias
from .sources import SOURCES, Source
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
