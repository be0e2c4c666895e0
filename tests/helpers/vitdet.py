"""ViTDet's backbone by us, Hugging Face and timm: one size, one set of weights."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lightvit_dense.models import VisionTransformer
from tools.benchmark.harness import Applied

State = dict[str, Tensor]


@dataclass(frozen=True)
class VitDetSize:
    """A ViTDet backbone; sides of image and patch in pixels, of a window in tokens."""

    image: int = 640
    embed_dim: int = 192
    depth: int = 12
    num_heads: int = 12
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)  # without windows, 0-based
    patch: int = 16


def our_backbone(size: VitDetSize) -> VisionTransformer:
    """Return our backbone."""
    return VisionTransformer(
        dict(embed_dim=size.embed_dim, depth=size.depth, num_heads=size.num_heads),
        img_size=size.image,
        patch_size=size.patch,
        cls_token=False,
        out_type='featmap',
        final_norm=False,
        window=dict(size=size.window, global_blocks=size.global_blocks) if size.window else None,
        rel_pos=dict(kind='decomposed', size=size.image),
    )


def common_weights(size: VitDetSize, seed: int = 0) -> State:
    """Return random weights for all, by our names; no position is zero."""
    generator = torch.Generator().manual_seed(seed)
    state = our_backbone(size).state_dict()
    for name, tensor in state.items():
        if 'rel_pos' in name or name == 'pos_embed':
            tensor.normal_(std=0.1, generator=generator)
        elif name.endswith('weight') and tensor.ndim > 1:
            # Logits with a deviation near 1: attention is neither flat nor of one key.
            tensor.normal_(std=tensor[0].numel() ** -0.5, generator=generator)
        elif name.endswith('bias'):
            tensor.normal_(std=0.02, generator=generator)
    return state


def huggingface_name(name: str) -> str:
    """Return what Hugging Face calls a parameter of ours."""
    if name == 'pos_embed':
        return 'embeddings.position_embeddings'
    name = name.replace('patch_embed.proj', 'embeddings.projection')
    return name.replace('blocks.', 'encoder.layer.').replace('.attn.', '.attention.')


def huggingface_backbone(size: VitDetSize, state: State) -> nn.Module:
    """Return Hugging Face's ``VitDetBackbone`` with weights by our names."""
    from transformers import VitDetBackbone, VitDetConfig

    config = VitDetConfig(
        hidden_size=size.embed_dim,
        num_hidden_layers=size.depth,
        num_attention_heads=size.num_heads,
        image_size=size.image,
        pretrain_image_size=size.image,
        patch_size=size.patch,
        window_size=size.window,
        window_block_indices=[i for i in range(size.depth) if i not in size.global_blocks],
        use_relative_position_embeddings=True,
        out_features=[f'stage{size.depth}'],
    )
    model = VitDetBackbone(config)
    theirs = {huggingface_name(name): tensor for name, tensor in state.items()}
    # Their table has a row for a class token, which is cut off again.
    name = 'embeddings.position_embeddings'
    theirs[name] = torch.cat([theirs[name].new_zeros(1, 1, size.embed_dim), theirs[name]], dim=1)
    model.load_state_dict(theirs)
    return Applied(model, lambda inner, images: inner(images).feature_maps[:1])


def timm_backbone(size: VitDetSize, state: State) -> nn.Module:
    """Return timm's ViT of Segment Anything, its nearest to ViTDet, with weights by our names."""
    from timm.models.vision_transformer_sam import VisionTransformerSAM

    model = VisionTransformerSAM(
        img_size=size.image,
        patch_size=size.patch,
        num_classes=0,
        embed_dim=size.embed_dim,
        depth=size.depth,
        num_heads=size.num_heads,
        use_rel_pos=True,
        window_size=size.window,
        global_attn_indexes=size.global_blocks,
        neck_chans=0,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    model.neck = nn.Identity()  # the norm behind the blocks is not in what is compared
    # [1, N, C] -> [1, rows, columns, C]
    side = size.image // size.patch
    model.load_state_dict({**state, 'pos_embed': state['pos_embed'].reshape(1, side, side, -1)})
    options = dict(indices=[size.depth - 1], intermediates_only=True)
    return Applied(model, lambda inner, x: inner.forward_intermediates(x, **options))


def build_backbone(variant: str, size: VitDetSize, state: State) -> nn.Module:
    """Build 'ours', 'huggingface' or 'timm': images [B, 3, H, W] in, a tuple of a map out."""
    if variant in ('huggingface', 'timm'):
        build = huggingface_backbone if variant == 'huggingface' else timm_backbone
        return build(size, state)
    model = our_backbone(size)
    model.load_state_dict(state)
    return model
