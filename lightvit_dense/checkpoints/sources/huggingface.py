"""Hugging Face's ViT, ViTMAE, DINOv2, BEiT and Hiera, by the names of transformers 4 and 5."""

import re
from collections import Counter

import torch

from .base import Context, State, rename

_EMBEDDINGS = (
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.register_tokens$', 'reg_token'),
    (r'^embeddings\.distillation_token$', 'dist_token'),
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'^embeddings\.', ''),
)
_BLOCKS = (
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
_STAGE = re.compile(r'^encoder\.stages\.(\d+)\.layers\.(\d+)\.')


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


def vit_names(state: State, _: Context) -> State:
    """Turn the names of a ViT into ours."""
    return merge_qkv(rename(state, (*_EMBEDDINGS, *_BLOCKS)))


def hiera_names(state: State, _: Context) -> State:
    """Turn the names of a Hiera into ours: its blocks are numbered anew in each stage."""
    found = {m.groups() for m in map(_STAGE.match, state) if m}
    depths = Counter(int(stage) for stage, _ in found)

    def number(match: re.Match) -> str:
        before = sum(depths[stage] for stage in range(int(match[1])))
        return f'blocks.{before + int(match[2])}.'

    state = {_STAGE.sub(number, name): tensor for name, tensor in state.items()}
    norms = (
        (r'\.layernorm_before\.', '.norm1.'),
        (r'\.layernorm_after\.', '.norm2.'),
        (r'^(encoder_norm|pooler\.layernorm)\.', 'norm.'),
    )
    return rename(state, (*_EMBEDDINGS, *norms))
