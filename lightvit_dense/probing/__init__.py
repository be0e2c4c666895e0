"""Frozen features: taken once, kept on disk, and measured by simple classifiers."""

from .cache import CacheFolder, Part
from .extract import Plan, extract
from .identity import fingerprint, identity_of
from .linear import LinearOptions, fit_linear
from .logistic import fit_logistic, fit_sklearn
from .measure import METHODS, Probes, Row
from .neighbours import NEIGHBOURS, Neighbours
from .network import POOLS, Network, Space, build_network
from .scores import Scores, hold_out

__all__ = [
    'METHODS',
    'NEIGHBOURS',
    'POOLS',
    'CacheFolder',
    'LinearOptions',
    'Neighbours',
    'Network',
    'Part',
    'Plan',
    'Probes',
    'Row',
    'Scores',
    'Space',
    'build_network',
    'extract',
    'fingerprint',
    'fit_linear',
    'fit_logistic',
    'fit_sklearn',
    'hold_out',
    'identity_of',
]
