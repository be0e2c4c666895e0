"""MAE (He et al. 2022) and the papers' own mae-lite.

mae-lite saves ``module.model.*`` (the masked autoencoder or the classifier), and beside it
``tch_model``, ``attn_adapter`` and ``hidden_adapter`` of distillation and ``ema_model.module``.
"""

from .base import Source
from .plain import MAE_EXTRAS

_EXTRAS = MAE_EXTRAS + r'|multi_scale_fusion_heads\.'

MAE = Source('MAE', drop=MAE_EXTRAS, marks=(r'decoder_|mask_token$', r'cls_token$'))
MAE_LITE = (
    Source('mae-lite', prefix='module.model.', drop=_EXTRAS),
    Source('mae-lite', prefix='model.', drop=_EXTRAS),
    Source('mae-lite encoder', prefix='module.model.encoder.', drop=_EXTRAS),
    Source('mae-lite encoder', prefix='model.encoder.', drop=_EXTRAS),
)
