"""The papers' analyses of what backbones have learnt: features, CKA, spectra and attention."""

from .agreement import AttentionAgreement, PairAgreement, attention_agreement
from .attention import AttentionStats, LayerStats, attention_stats
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
    'attention_agreement',
    'attention_stats',
    'layer_features',
    'layer_maps',
    'to_map',
]
