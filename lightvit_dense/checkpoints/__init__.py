"""Checkpoints: one door in, one format out; importing makes mmengine's loading safe, too."""

from lightvit_dense.errors import CheckpointError

from .classifier import load_classifier
from .export import save_backbone, save_huggingface, save_timm
from .initializer import PretrainedBackbone, PretrainedClassifier, fit_checkpoint
from .io import install, read_checkpoint
from .loader import load_backbone
from .teachers import EmbeddingWeights, TimmWeights

install()
