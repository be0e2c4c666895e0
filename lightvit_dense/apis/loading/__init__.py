"""A model from a name or a file, ready to be asked: ``lightvit_dense.load``."""

from .loader import load
from .model import Model

__all__ = ['Model', 'load']
