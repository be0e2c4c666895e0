"""What we write for timm and Hugging Face is loaded there and computes the same."""

import json

import pytest
import timm
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
from lightvit_dense.models.backbones import Hiera, VisionTransformer

ARCH = dict(embed_dim=16, depth=2, num_heads=4)
HIERA = dict(embed_dim=8, stages=(1, 2, 1, 1), num_heads=1)
CLOSE = 1e-5


def randomise(model, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model.eval()


def vit(arch=None, **kwargs):
    return randomise(VisionTransformer(arch or ARCH, **{'img_size': 32, 'patch_size': 8, **kwargs}))


def hiera(**kwargs):
    return randomise(Hiera(HIERA, **{'img_size': 64, **kwargs}))


def image(height, width):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def gap(one, other):
    assert one.shape == other.shape
    assert one.abs().max() > 0.1
    return (one - other).abs().max().item()


@torch.no_grad()
def from_timm(path):
    """Load a file by the call in the .json beside it, as a user would."""
    metadata = json.loads(path.with_suffix('.json').read_text())['timm']
    call = metadata['call'].replace(repr(path.name), repr(str(path)))
    return eval(call, {'timm': timm}).eval()


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
        dict(layer_scale=0.5, rel_pos=dict(kind='bias')),
        dict(arch=dict(ARCH, mlp_ratio=2.0)),
    ],
)
def test_timm_vit(tmp_path, options):
    ours = vit(**options)
    save_timm(ours, tmp_path / 'a.safetensors', {})
    theirs = from_timm(tmp_path / 'a.safetensors')
    if 'final_norm' not in options:
        assert isinstance(theirs.norm, torch.nn.LayerNorm)
    size = [side * ours.patch_size for side in ours.grid_size]
    assert gap(theirs.forward_features(image(*size)), ours(image(*size))[-1]) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize('options', [dict(), dict(q_pool=2), dict(img_size=(64, 96))])
def test_timm_hiera(tmp_path, options):
    ours = hiera(**options)
    save_timm(ours, tmp_path / 'a.safetensors', {})
    theirs = from_timm(tmp_path / 'a.safetensors')
    size = [side * ours.patch_size for side in ours.grid_size]
    maps = theirs.forward_intermediates(image(*size), intermediates_only=True)
    # [B, C, rows, columns] -> [B, rows * columns, C]
    found = theirs.head.norm(maps[-1].flatten(2).transpose(1, 2))
    assert gap(found, ours(image(*size))[-1]) < CLOSE


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
    size = [side * ours.patch_size for side in ours.grid_size]
    assert gap(theirs.eval()(image(*size)).last_hidden_state, ours(image(*size))[-1]) < CLOSE
    if not options:
        mae = ViTMAEModel.from_pretrained(tmp_path / 'a', mask_ratio=0.0).eval()
        order = torch.arange(16.0).expand(2, -1)
        found = mae(image(*size), noise=order).last_hidden_state
        assert gap(found, ours(image(*size))[-1]) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize(
    'options', [dict(), dict(q_pool=2), dict(mask_unit_attn=(True, False, False, False))]
)
def test_hugging_face_hiera(tmp_path, options):
    ours = hiera(**options)
    save_huggingface(ours, tmp_path / 'a', {})
    theirs, loaded = HieraModel.from_pretrained(tmp_path / 'a', output_loading_info=True)
    assert not any(loaded[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    maps = theirs.eval()(image(64, 64), output_hidden_states=True).reshaped_hidden_states
    found = theirs.pooler.layernorm(maps[-1]).flatten(1, 2)
    assert gap(found, ours(image(64, 64))[-1]) < CLOSE


@pytest.mark.parametrize('build', [vit, hiera])
@pytest.mark.parametrize('save', [save_backbone, save_timm, save_huggingface])
def test_round_trips_are_exact(tmp_path, build, save):
    ours = build()
    path = tmp_path / 'a'
    save(ours, path if save is save_huggingface else tmp_path / 'model.safetensors', {})
    if save is not save_huggingface:
        path = tmp_path
    found = convert(load_state_dict(path / 'model.safetensors')).state
    state = ours.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    other = build()
    randomise(other, 1)
    load_backbone(other, path / 'model.safetensors', strict=True, verbose=False)
    assert all(torch.equal(v, state[k]) for k, v in other.state_dict().items())


@pytest.mark.parametrize('save', [save_backbone, save_timm, save_huggingface])
def test_other_heads_are_refused(tmp_path, save):
    path = tmp_path / ('model.safetensors' if save is not save_huggingface else '.')
    save(vit(), path, {})
    other = vit(dict(ARCH, num_heads=2))
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(CheckpointError, match='trained with 4 heads, the model has 2'):
        load_backbone(other, tmp_path / 'model.safetensors')
    assert all(torch.equal(before[k], v) for k, v in other.state_dict().items())


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
