"""The kinds of checkpoints that are read; a new one is one more row."""

import re

from .base import Source
from .huggingface import hiera_names, vit_names
from .swin import swin_names
from .tasks import openmmlab_names, search_positions

_DECODER = r'decoder_|mask_token$|decoder\.'
_FUSION = r'|multi_scale_fusion_heads\.'
_HIERA_BLOCK = r'blocks\.\d+\.proj\.'
_SWIN_BLOCK = r'layers\.\d+\.blocks\.\d+\.'
_HF_STEM = 'embeddings.patch_embeddings.projection.weight'
_HF_DECODER = r'decoder\.|embeddings\.mask_token$|pooler\.dense\.'
_MM_STEM = 'patch_embed.projection.weight'

SOURCES: tuple[Source, ...] = (
    # The norm in the papers' SimMIM is the decoder's: the authors leave it out, and D²'s is of an
    # earlier stage's width.
    *(
        Source(
            'SimMIM Swin',
            prefix=prefix,
            drop=r'norm\.',
            marks=(re.escape(prefix) + _SWIN_BLOCK, re.escape(prefix) + 'mask_token$'),
            steps=(swin_names,),
        )
        for prefix in ('module.model.encoder.', 'model.encoder.', 'encoder.')
    ),
    *(
        Source(name, prefix, marks=(re.escape(prefix) + _SWIN_BLOCK,), steps=(swin_names,))
        for name, prefix in (
            ('mae-lite Swin', 'module.model.'),
            ('mae-lite Swin', 'model.'),
            ('Swin', 'backbone.'),
            ('Swin', ''),
        )
    ),
    # Models of tasks that carry a ViT.
    Source('detectron2 ViTDet', prefix='backbone.net.'),
    Source(
        'OSTrack',
        prefix='backbone.',
        drop=r'(template|search)_segment_pos_embed$',
        marks=(r'backbone\.pos_embed_x$',),
        steps=(search_positions,),
    ),
    # OpenMMLab's segmentors and classifiers; mae-lite writes its backbones by these names.
    *(
        Source(
            'OpenMMLab',
            prefix=prefix,
            drop=_DECODER + r'|module\.',
            stem=_MM_STEM,
            steps=(openmmlab_names,),
        )
        for prefix in ('backbone.', '')
    ),
    # DINO keeps two networks in two containers, MoCo-v3 in one.
    Source('DINO', prefix='backbone.', marks=(r'head\.(mlp|last_layer)\b', r'backbone\.')),
    Source('full model', prefix='backbone.'),
    Source('MoCo-v3', prefix='base_encoder.', drop=r'head\.'),
    # mae-lite has the masked autoencoder or the classifier there, and beside it tch_model,
    # attn_adapter and hidden_adapter of distillation and ema_model.module.
    Source('mae-lite', prefix='module.model.', drop=_DECODER + _FUSION),
    Source('mae-lite', prefix='model.', drop=_DECODER + _FUSION),
    Source('mae-lite encoder', prefix='module.model.encoder.', drop=_DECODER + _FUSION),
    Source('mae-lite encoder', prefix='model.encoder.', drop=_DECODER + _FUSION),
    Source('SimMIM', prefix='encoder.', drop=r'mask_token$', marks=(r'encoder\.mask_token$',)),
    Source('encoder of a pre-trainer', prefix='encoder.', drop=_DECODER),
    *(
        Source(
            'Hugging Face Hiera',
            prefix=prefix,
            drop=r'decoder\.|multiscale_fusion\.',
            marks=(rf'{re.escape(prefix)}encoder\.stages\.',),
            stem=_HF_STEM,
            also=r'encoder_norm\.',
            steps=(hiera_names,),
        )
        for prefix in ('hiera.', '')
    ),
    *(
        Source(
            f'Hugging Face {kind}',
            prefix=prefix,
            drop=_HF_DECODER,
            stem=_HF_STEM,
            steps=(vit_names,),
        )
        for kind, prefix in (
            ('ViT', 'vit.'),
            ('DINOv2', 'dinov2.'),
            ('DINOv2', 'dinov2_with_registers.'),
            ('BEiT', 'beit.'),
            ('DeiT', 'deit.'),
            ('ViT', ''),
        )
    ),
    Source('Hiera MAE', drop=_DECODER + _FUSION, marks=(r'encoder_norm\.', _HIERA_BLOCK)),
    Source('Hiera (Meta)', marks=(r'head\.projection\.', _HIERA_BLOCK)),
    Source('Hiera (timm)', marks=(r'head\.(norm|fc)\.', _HIERA_BLOCK)),
    # Pre-training after BEiT's code. Query and value biases, relative positions and LayerScale are
    # brought to our form by the steps that run for every source.
    Source(
        'BootMAE',
        drop=r'decode_|down(_1)?\.|lm_head|mask_token|de_pos_embed$',
        marks=(r'decode_blocks\.',),
    ),
    Source('BEiT', drop=r'lm_head\.|mask_token$', marks=(r'lm_head\.',)),
    Source('MaskFeat', drop=r'pred_head\.|mask_token$', marks=(r'pred_head\.',)),
    Source('MAE', drop=_DECODER, marks=(r'decoder_|mask_token$', r'cls_token$')),
    Source('plain Hiera (ours)', marks=(_HIERA_BLOCK,)),
    Source('plain backbone (ours or timm)'),
)
"""In the order in which they are tried; the first that recognises a file takes it."""
