"""What we write for timm and Hugging Face is loaded there and computes the same."""

import pytest
import torch
from transformers import HieraModel, ViTMAEModel, ViTModel

from lightvit_dense.checkpoints import (
    CheckpointError,
    convert,
    load_backbone,
    load_state_dict,
    save_backbone,
    save_huggingface,
    save_timm,
)

from .builders import (
    ARCH,
    BIAS,
    equal,
    from_timm,
    gap,
    image,
    image_for,
    our_hiera,
    refused,
    vit,
)

CLOSE = 1e-5


@torch.no_grad()
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(arch='tiny', patch_size=16),  # 12 heads, where timm's has 3
        dict(img_size=(24, 40), qkv_bias=False),
        dict(cls_token=False),
        dict(final_norm=False),
        dict(layer_scale=0.5),
        dict(BIAS, layer_scale=0.5),
        dict(arch=dict(ARCH, mlp_ratio=2.0)),
    ],
)
def test_timm_vit(tmp_path, options):
    ours = vit(**options)
    save_timm(ours, tmp_path / 'a.safetensors', {})
    theirs = from_timm(tmp_path / 'a.safetensors')
    if 'final_norm' not in options:
        assert isinstance(theirs.norm, torch.nn.LayerNorm)
    x = image_for(ours)
    assert gap(theirs.forward_features(x), ours(x)[-1]) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize('options', [dict(), dict(q_pool=2), dict(img_size=(64, 96))])
def test_timm_hiera(tmp_path, options):
    ours = our_hiera(**options)
    save_timm(ours, tmp_path / 'a.safetensors', {})
    theirs = from_timm(tmp_path / 'a.safetensors')
    x = image_for(ours)
    maps = theirs.forward_intermediates(x, intermediates_only=True)
    # [B, C, rows, columns] -> [B, rows * columns, C]
    found = theirs.head.norm(maps[-1].flatten(2).transpose(1, 2))
    assert gap(found, ours(x)[-1]) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize(
    'options', [dict(), dict(img_size=(24, 40)), dict(qkv_bias=False), dict(layer_scale=0.5)]
)
def test_hugging_face_vit(tmp_path, options):
    ours = vit(**options)
    save_huggingface(ours, tmp_path / 'a', {'why': 'test'})
    theirs, loaded = ViTModel.from_pretrained(
        tmp_path / 'a', add_pooling_layer=False, output_loading_info=True
    )
    assert not any(loaded[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    x = image_for(ours)
    assert gap(theirs.eval()(x).last_hidden_state, ours(x)[-1]) < CLOSE
    if not options:
        mae = ViTMAEModel.from_pretrained(tmp_path / 'a', mask_ratio=0.0).eval()
        order = torch.arange(16.0).expand(2, -1)
        found = mae(x, noise=order).last_hidden_state
        assert gap(found, ours(x)[-1]) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize(
    'options', [dict(), dict(q_pool=2), dict(mask_unit_attn=(True, False, False, False))]
)
def test_hugging_face_hiera(tmp_path, options):
    ours = our_hiera(**options)
    save_huggingface(ours, tmp_path / 'a', {})
    theirs, loaded = HieraModel.from_pretrained(tmp_path / 'a', output_loading_info=True)
    assert not any(loaded[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    maps = theirs.eval()(image(64), output_hidden_states=True).reshaped_hidden_states
    found = theirs.pooler.layernorm(maps[-1]).flatten(1, 2)
    assert gap(found, ours(image(64))[-1]) < CLOSE


@pytest.mark.parametrize('build', [vit, our_hiera])
@pytest.mark.parametrize('save', [save_backbone, save_timm, save_huggingface])
def test_round_trips_are_exact(tmp_path, build, save):
    ours = build()
    path = tmp_path / 'a'
    save(ours, path if save is save_huggingface else tmp_path / 'model.safetensors', {})
    if save is not save_huggingface:
        path = tmp_path
    found = convert(load_state_dict(path / 'model.safetensors')).state
    assert equal(found, ours)
    other = build(1)
    load_backbone(other, path / 'model.safetensors', strict=True, verbose=False)
    assert equal(other, ours)


@pytest.mark.parametrize('save', [save_backbone, save_timm, save_huggingface])
def test_other_heads_are_refused(tmp_path, save):
    path = tmp_path / ('model.safetensors' if save is not save_huggingface else '.')
    save(vit(), path, {})
    other = vit(1, dict(ARCH, num_heads=2))
    with refused(other, 'trained with 4 heads, the model has 2'):
        load_backbone(other, tmp_path / 'model.safetensors')


@pytest.mark.parametrize(
    ('save', 'options', 'what'),
    [
        (save_timm, dict(cls_token=False, window=dict(size=2)), 'has windows, which timm'),
        (
            save_timm,
            dict(cls_token=False, rel_pos=dict(kind='decomposed', size=32)),
            'has relative positions',
        ),
        (save_huggingface, dict(final_norm=False), 'has no final norm, which Hugging Face'),
        (save_huggingface, dict(cls_token=False), 'no class token'),
    ],
)
def test_what_cannot_be_expressed(tmp_path, save, options, what):
    with pytest.raises(CheckpointError, match=what):
        save(vit(**options), tmp_path / 'a.safetensors', {})
    assert not list(tmp_path.iterdir())
