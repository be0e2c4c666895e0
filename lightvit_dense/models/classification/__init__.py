"""Classification of images."""

from .classifier import ImageClassifier
from .head import ClassificationHead
from .logit_distiller import LogitDistiller
from .preprocessor import ClassificationPreprocessor
from .timm_classifier import TimmClassifier
