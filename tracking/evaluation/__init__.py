"""One-pass evaluation: success, precision, and their likes."""

from .got10k import GOT10kMetric
from .metric import OnePassEvaluation
from .ope import FIGURES, Scores, score
from .pair_iou import PairIoU
from .rules import TOOLKITS, Rules, choose_rules
from .truth import Truth

__all__ = [
    'FIGURES',
    'TOOLKITS',
    'GOT10kMetric',
    'OnePassEvaluation',
    'PairIoU',
    'Rules',
    'Scores',
    'Truth',
    'choose_rules',
    'score',
]
