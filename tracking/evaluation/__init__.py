"""One-pass evaluation: success, precision, and their likes."""

from .metric import GOT10kMetric, OnePassEvaluation, PairIoU
from .ope import FIGURES, Scores, score
from .protocol import TOOLKITS, Protocol, choose_protocol
from .truth import Truth
