"""The papers' analyses of what backbones have learnt: features, CKA, spectra and attention."""

from .agreement import AttentionAgreement, PairAgreement
from .attention import AttentionStats, LayerStats
from .cka import MinibatchCKA
from .features import layer_features, layer_maps, to_map
from .fourier import FourierAnalysis, Spectrum
from .images import ImageStream

__all__ = [
    'AttentionAgreement',
    'AttentionStats',
    'FourierAnalysis',
    'ImageStream',
    'LayerStats',
    'MinibatchCKA',
    'PairAgreement',
    'Spectrum',
    'layer_features',
    'layer_maps',
    'to_map',
]
