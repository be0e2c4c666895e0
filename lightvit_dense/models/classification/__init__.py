"""Classification of images."""

from .classifier import ImageClassifier
from .head import ClassificationHead
from .preprocessor import ClassificationPreprocessor

__all__ = ['ClassificationHead', 'ClassificationPreprocessor', 'ImageClassifier']
