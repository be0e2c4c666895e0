"""The kinds of checkpoints that are read; a new one is one more row of :data:`SOURCES`."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch

from .key_mapping import STEM, Context, State, Step, rename

_DECODER = r'decoder_|mask_token$|decoder\.'
_FUSION = r'|multi_scale_fusion_heads\.'
_HIERA_BLOCK = r'blocks\.\d+\.proj\.'
_SWIN_BLOCK = r'layers\.\d+\.blocks\.\d+\.'
_HF_STEM = 'embeddings.patch_embeddings.projection.weight'
_HF_DECODER = r'decoder\.|embeddings\.mask_token$|pooler\.dense\.'
_HF_EMBEDDINGS = (
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.register_tokens$', 'reg_token'),
    (r'^embeddings\.distillation_token$', 'dist_token'),
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'^embeddings\.', ''),
)
_HF_BLOCKS = (
    (r'^(?:encoder\.)?layers?\.(\d+)\.', r'blocks.\1.'),
    (r'\.layernorm_before\.', '.norm1.'),
    (r'\.layernorm_after\.', '.norm2.'),
    (r'\.attention\.attention\.(query|key|value)\.', r'.attn.\1.'),
    (r'\.attention\.q_proj\.', '.attn.query.'),
    (r'\.attention\.k_proj\.', '.attn.key.'),
    (r'\.attention\.v_proj\.', '.attn.value.'),
    (r'\.attention\.(?:output\.dense|o_proj)\.', '.attn.proj.'),
    (r'(?:\.attention)*\.relative_position_bias\.relative_', '.attn.relative_'),
    (r'^(?:encoder\.)?relative_position_bias\.', 'rel_pos_bias.'),
    (r'\.intermediate\.dense\.', '.mlp.fc1.'),
    (r'^(blocks\.\d+)\.output\.dense\.', r'\1.mlp.fc2.'),
    (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
    (r'\.lambda_([12])$', r'.gamma_\1'),
    (r'^layernorm\.', 'norm.'),
    (r'^pooler\.layernorm\.', 'fc_norm.'),
)
_HF_STAGE = r'^encoder\.stages\.(\d+)\.layers\.(\d+)\.'


def merge_qkv(state: State) -> State:
    """Stack separate query, key and value projections; a key without bias gets zeros."""
    merged: State = {}
    for name, tensor in state.items():
        found = re.match(r'(.*\.attn\.)(query|key|value)\.(weight|bias)$', name)
        if not found:
            merged[name] = tensor
            continue
        head, _, kind = found.groups()
        parts = [state.get(f'{head}{part}.{kind}') for part in ('query', 'key', 'value')]
        filled = [torch.zeros_like(tensor) if part is None else part for part in parts]
        merged.setdefault(f'{head}qkv.{kind}', torch.cat(filled))
    return merged


def _hf_vit(state: State, _: Context) -> State:
    return merge_qkv(rename(state, (*_HF_EMBEDDINGS, *_HF_BLOCKS)))


def hiera_names(state: State, _: Context) -> State:
    """Turn the names of a Hiera into ours: its blocks are numbered anew in each stage."""
    found = {m.groups() for m in (re.match(_HF_STAGE, name) for name in state) if m}
    depths = Counter(int(stage) for stage, _ in found)

    def number(match: re.Match) -> str:
        before = sum(depths[stage] for stage in range(int(match[1])))
        return f'blocks.{before + int(match[2])}.'

    rules = (
        (_HF_STAGE, number),
        *_HF_EMBEDDINGS,
        (r'\.layernorm_before\.', '.norm1.'),
        (r'\.layernorm_after\.', '.norm2.'),
        (r'^(encoder_norm|pooler\.layernorm)\.', 'norm.'),
    )
    return rename(state, rules)


_OPENMMLAB = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^layers\.', 'blocks.'),
    (r'^(blocks\.\d+)\.ln([12])\.', r'\1.norm\2.'),
    (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.ffn\.layers\.1\.', '.mlp.fc2.'),
    (r'^ln1\.', 'norm.'),
)


def search_positions(state: State, context: Context) -> State:
    """Make OSTrack's trained positions of the search image the backbone's.

    OSTrack trains ``pos_embed_z`` and ``pos_embed_x``, for template and search image, and leaves
    ``pos_embed`` as it was loaded; only its row for the class token is of use. A tracker of ours
    takes the template's as well, and has no class token.
    """
    if 'pos_embed_x' not in state or context.wants('pos_embed_x'):
        return state
    left_out, table = ['pos_embed_x', 'cls_pos_embed'], state['pos_embed_x']
    if not context.wants('pos_embed_z'):
        left_out.append('pos_embed_z')
        row = state.get('cls_pos_embed', state.get('pos_embed', table[:, :0])[:, :1])
        table = torch.cat([row, table], dim=1)
    state['pos_embed'] = table
    context.notes.append('pos_embed is pos_embed_x, the trained positions of the search image')
    context.drop(state, [name for name in left_out if name in state])
    return state


def swin_names(state: State, context: Context) -> State:
    """Turn the original's names into timm's, and leave out what is no part of a Swin.

    The original's stages end with the merging of patches, timm's begin with it. Masks of the shift
    are computed; D²'s last block has queries and keys only and leads nowhere.
    """
    context.drop(state, [name for name in state if name.endswith('.attn_mask')])
    if 'mask_token' in state and not context.wants('mask_token'):
        context.drop(state, ['mask_token'])
    blocks = {m[0] for m in (re.match(_SWIN_BLOCK, name) for name in state) if m}
    for block in sorted(b for b in blocks if f'{b}mlp.fc1.weight' not in state):
        context.drop(state, [name for name in state if name.startswith(block)])
        context.notes.append(
            f'{block[:-1]} has queries and keys only (decoupled distillation) and was left out'
        )
    if 'layers.0.downsample.reduction.weight' not in state:
        return state
    merging = r'^layers\.(\d+)\.downsample\.'
    return rename(state, [(merging, lambda m: f'layers.{int(m[1]) + 1}.downsample.')])


@dataclass(frozen=True)
class Source:
    """A kind of checkpoint."""

    name: str  # in reports
    prefix: str = ''  # before the backbone's names; what does not start with it is dropped
    drop: str | None = None  # pattern of names, prefix removed, that are no part of a backbone
    marks: tuple[str, ...] = ()  # patterns, each of which begins some name of the file
    inside: tuple[str, ...] = ()  # the same of names without the prefix
    stem: str = STEM  # the patch embedding's kernel after the prefix, by which a backbone is found
    also: str | None = None  # pattern of names outside the prefix that are the backbone's
    steps: tuple[Step, ...] = ()  # what is done to the names and values that remain

    def recognises(self, names: Collection[str]) -> bool:
        """Tell whether a file with these parameter names is of this kind."""
        if self.prefix + self.stem not in names:
            return False
        marks = (*self.marks, *(re.escape(self.prefix) + mark for mark in self.inside))
        return all(any(re.match(mark, name) for name in names) for mark in marks)

    def short(self, name: str) -> str | None:
        """Return a file's name without the prefix, None if it is no part of the backbone."""
        if self.also and re.match(self.also, name):
            return name
        if not name.startswith(self.prefix):
            return None
        short = name[len(self.prefix) :]
        return None if self.drop and re.match(self.drop, short) else short


def _at(name: str, prefixes: tuple[str, ...], drop: str | None, **options: Any) -> list[Source]:
    """List a kind whose backbone may stand under several prefixes."""
    return [Source(name, prefix, drop, **options) for prefix in prefixes]


_SWIN: dict[str, Any] = dict(inside=(_SWIN_BLOCK,), steps=(swin_names,))
SOURCES: tuple[Source, ...] = (
    # The norm in the papers' SimMIM is the decoder's: the authors leave it out, and D²'s is of an
    # earlier stage's width.
    *_at(
        'SimMIM Swin',
        ('module.model.encoder.', 'model.encoder.', 'encoder.'),
        r'norm\.',
        inside=(_SWIN_BLOCK, 'mask_token$'),
        steps=(swin_names,),
    ),
    *_at('mae-lite Swin', ('module.model.', 'model.'), None, **_SWIN),
    *_at('Swin', ('backbone.', ''), None, **_SWIN),
    # Models of tasks that carry a ViT.
    Source('detectron2 ViTDet', 'backbone.net.'),
    Source(
        'OSTrack',
        'backbone.',
        r'(template|search)_segment_pos_embed$',
        inside=('pos_embed_x$',),
        steps=(search_positions,),
    ),
    # OpenMMLab's segmentors and classifiers; mae-lite writes its backbones by these names.
    *_at(
        'OpenMMLab',
        ('backbone.', ''),
        _DECODER + r'|module\.',
        stem='patch_embed.projection.weight',
        steps=(lambda state, _: rename(state, _OPENMMLAB),),
    ),
    # DINO keeps two networks in two containers, MoCo-v3 in one.
    Source('DINO', 'backbone.', marks=(r'head\.(mlp|last_layer)\b', r'backbone\.')),
    Source('full model', 'backbone.'),
    Source('MoCo-v3', 'base_encoder.', r'head\.'),
    # mae-lite has the masked autoencoder or the classifier there, and beside it tch_model,
    # attn_adapter and hidden_adapter of distillation and ema_model.module.
    *_at('mae-lite', ('module.model.', 'model.'), _DECODER + _FUSION),
    *_at('mae-lite encoder', ('module.model.encoder.', 'model.encoder.'), _DECODER + _FUSION),
    Source('SimMIM', 'encoder.', r'mask_token$', inside=(r'mask_token$',)),
    Source('encoder of a pre-trainer', 'encoder.', _DECODER),
    *_at(
        'Hugging Face Hiera',
        ('hiera.', ''),
        r'decoder\.|multiscale_fusion\.',
        inside=(r'encoder\.stages\.',),
        stem=_HF_STEM,
        also=r'encoder_norm\.',
        steps=(hiera_names,),
    ),
    *(
        Source(f'Hugging Face {kind}', prefix, _HF_DECODER, stem=_HF_STEM, steps=(_hf_vit,))
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
