"""Backbones and classifiers of ours as timm and Hugging Face Transformers want them."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from lightvit_dense.errors import CheckpointError

from .key_mapping import Context, State, fold_layer_scale, rename

_TIMM_VIT = {
    192: 'vit_tiny_patch16_224',
    384: 'vit_small_patch16_224',
    1024: 'vit_large_patch16_224',
}
# The names of transformers 4, which version 5 reads and writes too.
_HF_COMMON = (
    (r'^cls_token$', 'embeddings.cls_token'),
    (r'^pos_embed$', 'embeddings.position_embeddings'),
    (r'^patch_embed\.proj\.', 'embeddings.patch_embeddings.projection.'),
    (r'\.norm1\.', '.layernorm_before.'),
    (r'\.norm2\.', '.layernorm_after.'),
)
_HF_VIT = (
    *_HF_COMMON,
    (r'^blocks\.', 'encoder.layer.'),
    (r'\.attn\.proj\.', '.attention.output.dense.'),
    (r'\.mlp\.fc1\.', '.intermediate.dense.'),
    (r'\.mlp\.fc2\.', '.output.dense.'),
    (r'^norm\.', 'layernorm.'),
)
_HF_HIERA = (*_HF_COMMON, (r'^norm\.', 'pooler.layernorm.'))


def is_hiera(backbone: nn.Module) -> bool:
    """Tell whether a backbone is a Hiera."""
    return hasattr(backbone, 'stages')


def _require(met: bool, otherwise: str, package: str, remedy: str = '') -> None:
    """Raise, unless a condition is met, saying what a package has no place for."""
    if not met:
        text = f'The {otherwise}, which {package} cannot express. {remedy}'
        raise CheckpointError(text.rstrip())


def _require_plain(backbone: nn.Module, package: str, lacks: str) -> None:
    """Raise if the backbone has windows, or parameters (pattern ``lacks``) without a place."""
    remedy = (
        'Load its weights into a plain backbone (no windows, no relative positions, '
        'final_norm=True) and export that.'
    )
    foreign = any(re.search(lacks, name) for name in backbone.state_dict())
    windowed = any(getattr(block, 'window_size', 0) for block in getattr(backbone, 'blocks', []))
    _require(not foreign, 'backbone has relative positions', package, remedy)
    _require(not windowed, 'backbone has windows', package, remedy)


def _require_norm(backbone: nn.Module, package: str) -> None:
    """Raise if there is no final norm, which the package's class always has."""
    remedy = (
        'Load its weights into a backbone with final_norm=True and export that, or export the '
        'whole classifier (--with-head).'
    )
    there = 'norm.weight' in backbone.state_dict()
    _require(there, 'backbone has no final norm', package, remedy)


def _image_size(backbone: Any) -> tuple[int, int]:
    return backbone.grid_size[0] * backbone.patch_size, backbone.grid_size[1] * backbone.patch_size


def _stage_heads(backbone: Any, depths: tuple[int, ...]) -> list[int]:
    return [backbone.arch['num_heads'] * 2**stage for stage in range(len(depths))]


def _unit_attention(backbone: Any) -> list[bool]:
    """Say for each stage of a Hiera whether its blocks after the first attend in mask units."""
    flags = [bool(block.attn.mask_unit) for block in backbone.blocks] + [False]
    starts = [sum(backbone.stages[:stage]) for stage in range(len(backbone.stages))]
    return [flags[start + 1] for start in starts]


def _timm_swin(backbone: Any, own: State) -> tuple[State, str, dict[str, Any]]:
    """Give a Swin, whose names and parts are timm's already."""
    remedy = 'Load its weights into one with final_norm=True and export that.'
    _require(not backbone.stage_norms, 'backbone has a norm for each stage', 'timm', remedy)
    options = dict(
        patch_size=backbone.patch_size,
        depths=backbone.depths,
        num_heads=tuple(_stage_heads(backbone, backbone.depths)),
        window_size=backbone.window_size,
    )
    state = {name: tensor for name, tensor in own.items() if name != 'mask_token'}
    return state, 'swin_tiny_patch4_window7_224', options


def _timm_hiera(backbone: Any, own: State) -> tuple[State, str, dict[str, Any]]:
    """Give a Hiera, whose last norm timm counts to the head."""
    options = dict(
        num_heads=backbone.arch['num_heads'],
        stages=tuple(backbone.arch['stages']),
        q_pool=backbone.q_pool,
        mask_unit_size=(backbone.mask_unit,) * 2,
        mask_unit_attn=tuple(_unit_attention(backbone)),
        patch_stride=(backbone.patch_size,) * 2,
    )
    return rename(own, [(r'^norm\.', 'head.norm.')]), 'hiera_tiny_224', options


def _vit_options(backbone: Any, own: State) -> dict[str, Any]:
    return dict(
        patch_size=backbone.patch_size,
        depth=backbone.arch['depth'],
        num_heads=backbone.arch['num_heads'],
        qkv_bias='blocks.0.attn.qkv.bias' in own,
    )


def _timm_vit(backbone: Any, own: State) -> tuple[State, str, dict[str, Any]]:
    """Give a plain ViT, which timm can build with and without class token and norm."""
    options = _vit_options(backbone, own)
    if 'cls_token' not in own:
        options |= dict(class_token=False, global_pool='avg', fc_norm=False)
    if 'norm.weight' not in own:
        options |= dict(final_norm=False)
    return own, _TIMM_VIT.get(backbone.arch['embed_dim'], 'vit_base_patch16_224'), options


def _timm_beit(backbone: Any, own: State) -> tuple[State, str, dict[str, Any]]:
    """Give a ViT with relative biases as timm's BEiT; a bias of keys changes no attention."""
    what = 'backbone has relative position biases and no class token'
    _require('cls_token' in own, what, 'timm', 'Export a backbone with cls_token=True.')
    state: State = {}
    for name, tensor in own.items():
        if name.endswith('.attn.qkv.bias'):
            head = name.removesuffix('qkv.bias')
            state[f'{head}q_bias'], _, state[f'{head}v_bias'] = tensor.chunk(3)
        else:
            state[name] = tensor
    options = _vit_options(backbone, own) | dict(global_pool='token', init_values=0.0)
    options |= dict(use_abs_pos_emb=True, use_rel_pos_bias=True)
    return state, 'beit_base_patch16_224', options


def timm_format(backbone: Any, alone: bool = True) -> tuple[State, str, dict[str, Any]]:
    """Return a backbone (``alone``: no head) by timm's names, and its model's name and options."""
    own = fold_layer_scale(dict(backbone.state_dict()), Context())  # few classes have a place
    if hasattr(backbone, 'depths'):
        give = _timm_swin
    else:
        _require_plain(backbone, 'timm', 'rel_pos_[hw]')
        biased = any(name.endswith('relative_position_bias_table') for name in own)
        give = _timm_hiera if is_hiera(backbone) else _timm_beit if biased else _timm_vit
    state, name, options = give(backbone, own)
    if alone and give is not _timm_vit:
        _require_norm(backbone, 'timm')
    common = dict(
        img_size=_image_size(backbone),
        num_classes=0,
        mlp_ratio=backbone.arch.get('mlp_ratio', 4.0),
        embed_dim=backbone.arch['embed_dim'],
    )
    return state, name, common | options


def _hf_vit(backbone: Any) -> tuple[State, dict[str, Any]]:
    """Give a ViT by the names of ``ViTModel``, and its config."""
    own, arch = fold_layer_scale(dict(backbone.state_dict()), Context()), backbone.arch
    if 'cls_token' not in own:
        raise CheckpointError(
            'The backbone has no class token, which ViTModel needs. Export a backbone with '
            'cls_token=True.'
        )
    state: State = {}
    for name, tensor in own.items():
        if '.attn.qkv.' in name:
            for part, value in zip(('query', 'key', 'value'), tensor.chunk(3), strict=True):
                state[name.replace('.attn.qkv.', f'.attention.attention.{part}.')] = value
        else:
            state[name] = tensor
    height, width = _image_size(backbone)
    config = dict(
        architectures=['ViTModel'],
        model_type='vit',
        hidden_size=arch['embed_dim'],
        num_hidden_layers=arch['depth'],
        num_attention_heads=arch['num_heads'],
        intermediate_size=int(arch['embed_dim'] * arch.get('mlp_ratio', 4.0)),
        image_size=height if height == width else [height, width],
        patch_size=backbone.patch_size,
        num_channels=own['patch_embed.proj.weight'].shape[1],
        qkv_bias='blocks.0.attn.qkv.bias' in own,
    )
    return rename(state, _HF_VIT), config


def _hf_hiera(backbone: Any) -> tuple[State, dict[str, Any]]:
    """Give a Hiera by the names of ``HieraModel``, and its config."""
    own, arch, stages = backbone.state_dict(), backbone.arch, tuple(backbone.arch['stages'])
    places = [(stage, layer) for stage, count in enumerate(stages) for layer in range(count)]

    def move(match: re.Match) -> str:
        stage, layer = places[int(match[1])]
        return f'encoder.stages.{stage}.layers.{layer}.'

    kernel = own['patch_embed.proj.weight'].shape
    config = dict(
        architectures=['HieraModel'],
        model_type='hiera',
        embed_dim=arch['embed_dim'],
        embed_dim_multiplier=2.0,
        hidden_size=backbone.embed_dims,
        depths=list(stages),
        num_heads=_stage_heads(backbone, stages),
        image_size=list(_image_size(backbone)),
        patch_size=list(kernel[2:]),
        patch_stride=[backbone.patch_size] * 2,
        patch_padding=[side // 2 for side in kernel[2:]],
        mlp_ratio=float(arch.get('mlp_ratio', 4.0)),
        num_query_pool=backbone.q_pool,
        query_stride=[2, 2],
        masked_unit_size=[backbone.mask_unit] * 2,
        masked_unit_attention=_unit_attention(backbone),
        num_channels=kernel[1],
    )
    return rename(own, ((r'^blocks\.(\d+)\.', move), *_HF_HIERA)), config


def huggingface_format(backbone: nn.Module, alone: bool = True) -> tuple[State, dict[str, Any]]:
    """Give a backbone by the names of ``ViTModel`` or ``HieraModel``, and its config."""
    package = 'Hugging Face Transformers'
    _require_plain(backbone, package, r'rel_pos|relative_position')
    if alone:
        _require_norm(backbone, package)
    state, config = (_hf_hiera if is_hiera(backbone) else _hf_vit)(backbone)
    return state, {**config, 'hidden_act': 'gelu', 'layer_norm_eps': 1e-6, 'dtype': 'float32'}


def _linear(head: Any) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the linear layer, a BatchNorm before it folded in."""
    weight, bias = head.fc.weight.detach(), head.fc.bias.detach()
    if 'bn.running_mean' not in head.state_dict():
        return weight, bias
    # W (x - m) / s + b = (W / s) x + b - (W / s) m
    scaled = weight / (head.bn.running_var + head.bn.eps).sqrt()
    return scaled, bias - torch.mv(scaled, head.bn.running_mean)


def _norms(model: Any, package: str) -> tuple[bool, bool]:
    """Tell whether a LayerNorm comes before and whether one comes after the pooling."""
    final = 'norm.weight' in model.backbone.state_dict()
    after = 'fc_norm.weight' in model.head.state_dict()
    what = 'classifier has no LayerNorm after the pooling, or one before it'
    _require(not is_hiera(model.backbone) or (after and not final), what, package)
    return final, after


def timm_classifier(model: Any) -> tuple[State, str, dict[str, Any]]:
    """Give an ImageClassifier as timm has it, see :func:`timm_format`."""
    state, name, kwargs = timm_format(model.backbone, alone=False)
    final, after = _norms(model, 'timm')
    weight, bias = _linear(model.head)
    norm, linear = 'fc_norm', 'head'
    kwargs['num_classes'] = model.head.num_classes
    if is_hiera(model.backbone):
        norm, linear = 'head.norm', 'head.fc'
    elif name.startswith('swin'):
        what = 'classifier has no LayerNorm before the pooling, or one after it'
        _require(final and not after, what, "timm's Swin")
        linear = 'head.fc'
    else:
        what = 'classifier has LayerNorms before and after the pooling'
        _require(not (final and after), what, 'timm')
        kwargs['global_pool'] = 'token' if model.head.pool == 'cls' else 'avg'
        if name.startswith('beit'):
            what = 'classifier has no LayerNorm after its blocks'
            _require(final or after, what, "timm's BEiT")
            kwargs['use_fc_norm'] = after
        else:
            # With fc_norm=True timm's final norm follows the pooling.
            kwargs |= dict(fc_norm=after, final_norm=final or after)
    state |= {f'{norm}.{k}': v for k, v in model.head.fc_norm.state_dict().items()}
    return {**state, f'{linear}.weight': weight, f'{linear}.bias': bias}, name, kwargs


def huggingface_classifier(model: Any) -> tuple[State, dict[str, Any]]:
    """Return a classifier as ``(ViT|Hiera)ForImageClassification``, and its config."""
    state, config = huggingface_format(model.backbone, alone=False)
    final, after = _norms(model, 'Hugging Face')
    kind, prefix = 'HieraForImageClassification', 'hiera.'
    if not is_hiera(model.backbone):
        if model.head.pool != 'cls' or after or not final:
            raise CheckpointError(
                'The classifier does not read the class token after the final norm, as '
                "Hugging Face's ViTForImageClassification does. Export it for timm (--to timm)."
            )
        kind, prefix = 'ViTForImageClassification', 'vit.'
    # A ViT's head has no norm here.
    state |= {f'pooler.layernorm.{k}': v for k, v in model.head.fc_norm.state_dict().items()}
    state = {prefix + name: tensor for name, tensor in state.items()}
    state['classifier.weight'], state['classifier.bias'] = _linear(model.head)
    labels = {str(i): f'LABEL_{i}' for i in range(model.head.num_classes)}
    names = dict(id2label=labels, label2id={v: int(k) for k, v in labels.items()})
    return state, {**config, **names, 'architectures': [kind]}
