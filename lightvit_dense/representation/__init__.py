"""The papers' analyses of what backbones have learnt: features, CKA, spectra and attention."""

from .agreement import AttentionAgreement, PairAgreement
from .attention import AttentionStats, LayerStats
from .features import layer_features, layer_maps, to_map
from .images import ImageStream
