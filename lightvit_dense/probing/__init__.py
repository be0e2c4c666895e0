"""Frozen features: taken once, kept on disk, and measured by simple classifiers."""

from .cache import Part
from .extract import POOLS, Plan, Space, extract, read_features, spaces_of
from .identity import plain
from .logistic import fit_logistic
from .measure import METHODS, Probes, Row
from .neighbours import NEIGHBOURS, Neighbours
from .scores import Scores, hold_out
