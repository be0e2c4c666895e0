"""MoCo-v3 (Chen et al. 2021) and DINO (Caron et al. 2021).

Both keep two networks. MoCo-v3's go under ``base_encoder`` and ``momentum_encoder`` of one state
dict, the projection being ``base_encoder.head``; DINO's under the containers 'teacher' and
'student', the projection being ``head``.
"""

from .base import Source

MOCO_V3 = Source('MoCo-v3', prefix='base_encoder.', drop=r'head\.')
DINO = Source('DINO', prefix='backbone.', marks=(r'head\.(mlp|last_layer)\b', r'backbone\.'))
