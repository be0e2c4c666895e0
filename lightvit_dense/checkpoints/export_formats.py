"""Backbones and classifiers of ours as timm and Hugging Face Transformers want them."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from lightvit_dense.errors import CheckpointError

from .key_mapping import Context, State, fold_layer_scale

_TIMM_VIT = {
    192: 'vit_tiny_patch16_224',
    384: 'vit_small_patch16_224',
    1024: 'vit_large_patch16_224',
}
_HF_EMBEDDINGS = {
    'cls_token': 'embeddings.cls_token',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.proj.weight': 'embeddings.patch_embeddings.projection.weight',
    'patch_embed.proj.bias': 'embeddings.patch_embeddings.projection.bias',
}
# The names of transformers 4, which version 5 reads and writes too.
_HF_VIT = (
    (r'^blocks\.', 'encoder.layer.'),
    (r'\.norm1\.', '.layernorm_before.'),
    (r'\.norm2\.', '.layernorm_after.'),
    (r'\.attn\.proj\.', '.attention.output.dense.'),
    (r'\.mlp\.fc1\.', '.intermediate.dense.'),
    (r'\.mlp\.fc2\.', '.output.dense.'),
    (r'^norm\.', 'layernorm.'),
)
_HF_HIERA = (
    (r'\.norm1\.', '.layernorm_before.'),
    (r'\.norm2\.', '.layernorm_after.'),
    (r'^norm\.', 'pooler.layernorm.'),
)


def is_hiera(backbone: nn.Module) -> bool:
    """Tell whether a backbone is a Hiera."""
    return hasattr(backbone, 'stages')


def _refuse(backbone: nn.Module, package: str, lacks: str) -> None:
    """Raise if the backbone has windows, or parameters (pattern ``lacks``) without a place."""
    foreign = [n for n in backbone.state_dict() if re.search(lacks, n)]
    windowed = [b for b in getattr(backbone, 'blocks', []) if getattr(b, 'window_size', 0)]
    what = 'relative positions' if foreign else 'windows' if windowed else ''
    if what:
        raise CheckpointError(
            f'The backbone has {what}, which {package} cannot express. Load its weights into a '
            'plain backbone (no windows, no relative positions, final_norm=True) and export that.'
        )


def _need_norm(backbone: nn.Module, package: str) -> None:
    """Raise if there is no final norm, which the package's class always has."""
    if 'norm.weight' not in backbone.state_dict():
        raise CheckpointError(
            f'The backbone has no final norm, which {package} cannot express. Load its weights '
            'into a backbone with final_norm=True and export that, or export the whole classifier '
            '(--with-head).'
        )


def _own_state(backbone: nn.Module) -> State:
    """Return the parameters with LayerScales folded, for which not every class has a place."""
    return fold_layer_scale(dict(backbone.state_dict()), Context())


def _image_size(backbone: nn.Module) -> tuple[int, int]:
    grid: Any = backbone.grid_size
    patch: Any = backbone.patch_size
    return grid[0] * patch, grid[1] * patch


def unit_attention(backbone: nn.Module) -> list[bool]:
    """Say for each stage of a Hiera whether its blocks after the first attend in mask units."""
    flags = [bool(block.attn.mask_unit) for block in backbone.blocks]  # type: ignore[union-attr]
    starts = [sum(backbone.stages[:s]) for s in range(len(backbone.stages))]  # type: ignore
    after = [start + 1 for start in starts]
    return [flags[i] if i < len(flags) else False for i in after]


def _timm_beit(own: State, kwargs: dict[str, Any]) -> tuple[State, str, dict[str, Any]]:
    """Give a ViT with relative position biases as timm's BEiT.

    Its keys have no bias; ours add the same to all logits of a query, so nothing is lost.
    """
    state: State = {}
    for name, tensor in own.items():
        if name.endswith('.attn.qkv.bias'):
            query, _, value = tensor.chunk(3)
            head = name.removesuffix('qkv.bias')
            state[f'{head}q_bias'], state[f'{head}v_bias'] = query, value
        else:
            state[name] = tensor
    if 'cls_token' not in state:
        raise CheckpointError(
            'The backbone has relative position biases and no class token, which timm cannot '
            'express. Export a backbone with cls_token=True.'
        )
    options = dict(use_abs_pos_emb=True, use_rel_pos_bias=True, init_values=0.0)
    return state, 'beit_base_patch16_224', {**kwargs, **options, 'global_pool': 'token'}


def _timm_swin(backbone: Any, alone: bool) -> tuple[State, str, dict[str, Any]]:
    """Give a Swin as timm has it, whose names and parts it has already."""
    if backbone.stage_norms:
        raise CheckpointError(
            'The backbone has a norm for each stage, which timm cannot express. Load its weights '
            'into one with final_norm=True and export that.'
        )
    if alone:
        _need_norm(backbone, 'timm')
    state = {n: t for n, t in backbone.state_dict().items() if n != 'mask_token'}
    arch = backbone.arch
    kwargs = dict(
        img_size=_image_size(backbone),
        num_classes=0,
        patch_size=backbone.patch_size,
        embed_dim=arch['embed_dim'],
        depths=backbone.depths,
        num_heads=tuple(arch['num_heads'] * 2**stage for stage in range(len(backbone.depths))),
        window_size=backbone.window_size,
        mlp_ratio=arch.get('mlp_ratio', 4.0),
    )
    return state, 'swin_tiny_patch4_window7_224', kwargs


def timm_format(backbone: nn.Module, alone: bool = True) -> tuple[State, str, dict[str, Any]]:
    """Give a backbone (``alone``: without a head) as timm has it.

    Returns:
        The parameters by timm's names; name and arguments for ``timm.create_model``.

    Raises:
        CheckpointError: If timm's class lacks an option of the backbone.
    """
    if hasattr(backbone, 'depths'):
        return _timm_swin(backbone, alone)
    hiera = is_hiera(backbone)
    _refuse(backbone, 'timm', r'rel_pos_[hw]')
    state, arch = _own_state(backbone), dict(backbone.arch)  # type: ignore[arg-type]
    biased = any(name.endswith('relative_position_bias_table') for name in state)
    if alone and (hiera or biased):
        _need_norm(backbone, 'timm')
    common = dict(
        img_size=_image_size(backbone), num_classes=0, mlp_ratio=arch.get('mlp_ratio', 4.0)
    )
    if hiera:
        unit = (backbone.mask_unit,) * 2
        sizes = dict(
            embed_dim=arch['embed_dim'],
            num_heads=arch['num_heads'],
            stages=tuple(arch['stages']),
            q_pool=backbone.q_pool,
            mask_unit_size=unit,
            mask_unit_attn=tuple(unit_attention(backbone)),
            patch_stride=(backbone.patch_size,) * 2,
        )
        renamed = {re.sub(r'^norm\.', 'head.norm.', n): t for n, t in state.items()}
        return renamed, 'hiera_tiny_224', {**common, **sizes}
    width = arch['embed_dim']
    sizes = dict(
        patch_size=backbone.patch_size,
        embed_dim=width,
        depth=arch['depth'],
        num_heads=arch['num_heads'],
        qkv_bias='blocks.0.attn.qkv.bias' in state,
    )
    if biased:
        return _timm_beit(state, {**common, **sizes})
    if 'cls_token' not in state:
        sizes |= dict(class_token=False, global_pool='avg', fc_norm=False)
    if 'norm.weight' not in state:
        sizes |= dict(final_norm=False)
    return state, _TIMM_VIT.get(width, 'vit_base_patch16_224'), {**common, **sizes}


def _split_qkv(state: State, name: str, tensor: Tensor) -> None:
    head, kind = name.split('.attn.qkv.')
    for part, value in zip(('query', 'key', 'value'), tensor.chunk(3), strict=True):
        state[f'{head}.attention.attention.{part}.{kind}'] = value


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    if name in _HF_EMBEDDINGS:
        return _HF_EMBEDDINGS[name]
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _hf_vit(backbone: nn.Module) -> tuple[State, dict[str, Any]]:
    arch: Any = backbone.arch
    own = _own_state(backbone)
    if 'cls_token' not in own:
        raise CheckpointError(
            'The backbone has no class token, which ViTModel needs. Export a backbone with '
            'cls_token=True.'
        )
    state: State = {}
    for name, tensor in own.items():
        if '.attn.qkv.' in name:
            _split_qkv(state, re.sub(r'^blocks\.', 'encoder.layer.', name), tensor)
        else:
            state[_rename(name, _HF_VIT)] = tensor
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
    return state, config


def _hf_hiera(backbone: nn.Module) -> tuple[State, dict[str, Any]]:
    arch: Any = backbone.arch
    own = backbone.state_dict()
    stages = tuple(arch['stages'])
    place = [(s, i) for s, blocks in enumerate(stages) for i in range(blocks)]

    def move(match: re.Match) -> str:
        stage, layer = place[int(match[1])]
        return f'encoder.stages.{stage}.layers.{layer}.'

    state = {
        _rename(re.sub(r'^blocks\.(\d+)\.', move, name), _HF_HIERA): tensor
        for name, tensor in own.items()
    }
    kernel = own['patch_embed.proj.weight'].shape
    config = dict(
        architectures=['HieraModel'],
        model_type='hiera',
        embed_dim=arch['embed_dim'],
        embed_dim_multiplier=2.0,
        hidden_size=backbone.embed_dims,
        depths=list(stages),
        num_heads=[arch['num_heads'] * 2**stage for stage in range(len(stages))],
        image_size=list(_image_size(backbone)),
        patch_size=list(kernel[2:]),
        patch_stride=[backbone.patch_size] * 2,
        patch_padding=[side // 2 for side in kernel[2:]],
        mlp_ratio=float(arch.get('mlp_ratio', 4.0)),
        num_query_pool=backbone.q_pool,
        query_stride=[2, 2],
        masked_unit_size=[backbone.mask_unit] * 2,
        masked_unit_attention=unit_attention(backbone),
        num_channels=kernel[1],
    )
    return state, config


def huggingface_format(backbone: nn.Module, alone: bool = True) -> tuple[State, dict[str, Any]]:
    """Give a backbone by the names of ``ViTModel`` or ``HieraModel``, and its config.

    Raises:
        CheckpointError: If the class lacks an option of the backbone.
    """
    package = 'Hugging Face Transformers'
    _refuse(backbone, package, r'rel_pos|relative_position')
    if alone:
        _need_norm(backbone, package)
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


def _norms(model: Any) -> tuple[bool, bool]:
    """Tell whether a LayerNorm comes before and whether one comes after the pooling."""
    final = 'norm.weight' in model.backbone.state_dict()
    return final, 'fc_norm.weight' in model.head.state_dict()


def _cannot(package: str, why: str) -> CheckpointError:
    return CheckpointError(f'The classifier {why}, which {package} cannot express.')


def timm_classifier(model: Any) -> tuple[State, str, dict[str, Any]]:
    """Give an ImageClassifier as timm has it, see :func:`timm_format`."""
    state, name, kwargs = timm_format(model.backbone, alone=False)
    final, after = _norms(model)
    kwargs = {**kwargs, 'num_classes': model.head.num_classes}
    weight, bias = _linear(model.head)
    norm = {f'fc_norm.{k}': v for k, v in model.head.fc_norm.state_dict().items()}
    if is_hiera(model.backbone):
        if final or not after:
            raise _cannot('timm', 'has no LayerNorm after the pooling, or one before it')
        norm = {n.replace('fc_norm.', 'head.norm.'): t for n, t in norm.items()}
        return {**state, **norm, 'head.fc.weight': weight, 'head.fc.bias': bias}, name, kwargs
    if name.startswith('swin'):
        if after or not final:
            raise _cannot("timm's Swin", 'has no LayerNorm before the pooling, or one after it')
        return {**state, 'head.fc.weight': weight, 'head.fc.bias': bias}, name, kwargs
    if final and after:
        raise _cannot('timm', 'has LayerNorms before and after the pooling')
    kwargs['global_pool'] = 'token' if model.head.pool == 'cls' else 'avg'
    if name.startswith('beit'):
        if not final and not after:
            raise _cannot("timm's BEiT", 'has no LayerNorm after its blocks')
        kwargs['use_fc_norm'] = after
    else:
        # With fc_norm=True timm's final norm follows the pooling.
        kwargs |= dict(fc_norm=after, final_norm=final or after)
    return {**state, **norm, 'head.weight': weight, 'head.bias': bias}, name, kwargs


def huggingface_classifier(model: Any) -> tuple[State, dict[str, Any]]:
    """Give an ImageClassifier as ``(ViT|Hiera)ForImageClassification``, and its config.

    A ViT must read the class token after the final norm.

    Raises:
        CheckpointError: If the class lacks an option of the classifier.
    """
    state, config = huggingface_format(model.backbone, alone=False)
    final, after = _norms(model)
    weight, bias = _linear(model.head)
    if is_hiera(model.backbone):
        if final or not after:
            raise _cannot('Hugging Face', 'has no LayerNorm after the pooling, or one before it')
        kind, prefix = 'HieraForImageClassification', 'hiera.'
        state |= {f'pooler.layernorm.{k}': v for k, v in model.head.fc_norm.state_dict().items()}
    else:
        if model.head.pool != 'cls' or after or not final:
            raise CheckpointError(
                'The classifier does not read the class token after the final norm, as '
                "Hugging Face's ViTForImageClassification does. Export it for timm (--to timm)."
            )
        kind, prefix = 'ViTForImageClassification', 'vit.'
    state = {prefix + name: tensor for name, tensor in state.items()}
    state |= {'classifier.weight': weight, 'classifier.bias': bias}
    labels = {str(i): f'LABEL_{i}' for i in range(model.head.num_classes)}
    names = dict(id2label=labels, label2id={v: int(k) for k, v in labels.items()})
    return state, {**config, **names, 'architectures': [kind]}
