"""Checkpoints that other packages write themselves: our backbone must compute what they compute."""

import hiera
import pytest
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer

from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.checkpoints.convert import convert

from .builders import (
    PLAIN,
    equal,
    gap,
    hf_hiera,
    hf_vit,
    image,
    image_for,
    meta_hiera,
    named,
    our_hiera,
    randomise,
    refused,
    save,
    timm_sizes,
    vit,
)

CLOSE = 1e-5
SOURCES = [
    ('', PLAIN, []),
    ('backbone.', 'full model', ['decoder.blocks.0.x', 'distiller.teacher.pos_embed', 'neck.x']),
    ('module.backbone.', 'full model', ['module.decoder.weight', 'module.roi_head.x']),
    ('module._orig_mod.backbone.', 'full model', ['module._orig_mod.decoder.weight']),
    ('_orig_mod.', PLAIN, []),
    ('module.', PLAIN, []),
    ('module.model.', 'mae-lite', ['module.model.decoder_pred.weight', 'module.model.mask_token']),
    ('module.model.', 'mae-lite', ['module.teacher.patch_embed.proj.weight']),
    ('model.', 'mae-lite', ['model.decoder_embed.bias', 'model.mask_token']),
    ('module.model.encoder.', 'mae-lite encoder', ['module.model.decoder.x']),
    ('encoder.', 'encoder of a pre-trainer', ['decoder.x']),
    (
        'module.base_encoder.',
        'MoCo-v3',
        ['module.base_encoder.head.x', 'module.momentum_encoder.x'],
    ),
    ('', 'MAE', ['decoder_pos_embed', 'mask_token', 'decoder_blocks.0.norm1.bias']),
]


@pytest.mark.parametrize(('prefix', 'source', 'extra'), SOURCES)
def test_sources(prefix, source, extra):
    state = vit().state_dict()
    given = named(state, prefix) | {k: torch.zeros(1) for k in extra}
    converted = convert(given)
    assert converted.source == source
    assert list(converted.state) == list(state)
    assert all(converted.state[k] is v for k, v in state.items())
    assert sorted(converted.dropped) == sorted(extra)


def test_unknown_names_and_heads_are_left_alone():
    for state in ({'layer1.conv.weight': torch.zeros(1)}, {}):
        converted = convert(state)
        assert (converted.source, converted.state, converted.dropped) == (None, state, [])
    converted = convert({**vit().state_dict(), 'head.weight': torch.zeros(3, 8)})
    assert 'head.weight' in converted.state
    assert converted.dropped == []


def vit_mae():
    decoder = dict(decoder_hidden_size=8, decoder_num_hidden_layers=1)
    decoder |= dict(decoder_num_attention_heads=1, decoder_intermediate_size=8)
    return hf_vit('ViTMAEForPreTraining', mask_ratio=0.0, **decoder)


def hiera_mae():
    return hf_hiera('ForPreTraining', num_query_pool=2)


def last(theirs):
    return theirs(image()).last_hidden_state


def last_of_mae(theirs):
    return theirs.vit(image(), noise=torch.arange(16.0).expand(2, -1)).last_hidden_state


def last_of_hiera(theirs):
    maps = theirs(image(64), output_hidden_states=True).reshaped_hidden_states
    return theirs.pooler.layernorm(maps[-1]).flatten(1, 2)


def last_of_hiera_mae(theirs):
    """Run the same weights in a plain model: its own forward hides units."""
    plain = hf_hiera('Model', num_query_pool=2).eval()
    plain.load_state_dict(theirs.hiera.state_dict(), strict=False)
    plain.pooler.layernorm = theirs.encoder_norm
    return last_of_hiera(plain)


def last_of_metas_mae(theirs):
    keep = torch.ones(2, 4, dtype=torch.bool)
    _, stages = hiera.Hiera.forward(theirs, image(64), keep, return_intermediates=True)
    # [B, units, 2, 2, C] -> [B, rows * columns, C]
    maps = stages[-1].unflatten(1, (2, 2)).transpose(2, 3).flatten(1, 4)
    return theirs.encoder_norm(maps)


BEIT = dict(use_absolute_position_embeddings=True)
# The source, how theirs is built and run, and ours. Networks with a head are compared with it.
BACKBONES = [
    ('Hugging Face ViT', lambda: hf_vit('ViTModel'), last, vit(9)),
    ('Hugging Face ViT', vit_mae, last_of_mae, vit(9)),
    ('Hugging Face ViT', lambda: hf_vit('Dinov2Model', mlp_ratio=4), last, vit(9)),
    ('Hugging Face ViT', lambda: hf_vit('BeitModel', **BEIT), last, vit(9, final_norm=False)),
    ('Hugging Face Hiera', lambda: hf_hiera('Model'), last_of_hiera, our_hiera(9)),
    ('Hugging Face Hiera', hiera_mae, last_of_hiera_mae, our_hiera(9, q_pool=2)),
    ('Hiera MAE', lambda: meta_hiera(pretrain=True), last_of_metas_mae, our_hiera(9, q_pool=2)),
]


@torch.no_grad()
@pytest.mark.parametrize(('source', 'build', 'run', 'model'), BACKBONES)
def test_tokens_are_theirs(source, build, run, model):
    theirs = randomise(build())
    report = load_backbone(model, theirs.state_dict(), strict=True, verbose=False)
    assert report.source == source
    assert len(report.matched) == len(model.state_dict())
    assert gap(run(theirs), model(image_for(model))[-1]) < CLOSE


def test_names_of_hugging_face_in_files(tmp_path):
    """transformers 5 writes the names of version 4, which it has no longer in memory."""
    theirs = vit_mae()
    theirs.save_pretrained(tmp_path)
    state = load_file(tmp_path / 'model.safetensors')
    assert any('attention.attention.query' in name for name in state)
    assert equal(convert(state).state, convert(theirs.state_dict()).state)


def test_registers_are_dropped_with_their_positions():
    theirs, model = TimmVisionTransformer(**timm_sizes(reg_tokens=2)), vit(9)
    report = load_backbone(model, randomise(theirs).state_dict(), verbose=False)
    assert (report.dropped, report.missing) == (['head.weight', 'head.bias'], [])
    assert report.unexpected == ['reg_token']
    assert report.resized == {'pos_embed': ((1, 19, 16), (1, 17, 16))}
    assert 'the model lacks reg_token' in report.notes[0]
    positions = theirs.pos_embed
    assert torch.equal(model.pos_embed, torch.cat([positions[:, :1], positions[:, 3:]], dim=1))


@pytest.mark.parametrize(
    ('names', 'what'),
    [
        (['layers.0.blocks.0.attn.qkv.weight', 'patch_embed.proj.weight'], 'a Swin transformer'),
        (['layer1.0.conv1.weight'], 'a ResNet'),
        (['blocks.1.proj.weight', 'patch_embed.proj.weight', 'pos_embed_spatial'], 'for video'),
        (['blocks.1.proj.weight', 'patch_embed.proj.weight', 'pos_embed_win'], 'window positions'),
    ],
)
def test_foreign_networks_are_named(names, what, tmp_path):
    model, path = vit(9), save(tmp_path, {name: torch.zeros(1) for name in names}, 'other.pth')
    message = rf'other\.pth: .*{what}(.|\n)*take a checkpoint of one of these'
    with refused(model, message):
        load_backbone(model, path)
