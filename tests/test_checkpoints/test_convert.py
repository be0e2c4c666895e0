import pytest
import torch

from lightvit_dense.checkpoints import convert

SOURCES = [
    ('', 'plain backbone (ours or timm)', []),
    ('backbone.', 'full model', ['decoder.blocks.0.x', 'distiller.teacher.pos_embed', 'neck.x']),
    ('module.backbone.', 'full model', ['module.decoder.weight', 'module.roi_head.x']),
    ('module._orig_mod.backbone.', 'full model', ['module._orig_mod.decoder.weight']),
    ('_orig_mod.', 'plain backbone (ours or timm)', []),
    ('module.', 'plain backbone (ours or timm)', []),
    ('module.model.', 'mae-lite', ['module.model.decoder_pred.weight', 'module.model.mask_token']),
    ('module.model.', 'mae-lite', ['module.teacher.patch_embed.proj.weight']),
    ('model.', 'mae-lite', ['model.decoder_embed.bias', 'model.mask_token']),
    ('module.model.encoder.', 'mae-lite encoder', ['module.model.decoder.x']),
    ('encoder.', 'encoder of a pre-trainer', ['decoder.x']),
    ('', 'MAE', ['decoder_pos_embed', 'mask_token', 'decoder_blocks.0.norm1.bias']),
]


@pytest.mark.parametrize(('prefix', 'source', 'extra'), SOURCES)
def test_sources(make_vit, prefix, source, extra):
    state = make_vit().state_dict()
    given = {prefix + k: v for k, v in state.items()} | {k: torch.zeros(1) for k in extra}
    converted = convert(given)
    assert converted.source == source
    assert list(converted.state) == list(state)
    assert all(converted.state[k] is v for k, v in state.items())
    assert sorted(converted.dropped) == sorted(extra)


def test_unknown_names_are_left_alone():
    state = {'layer1.conv.weight': torch.zeros(1)}
    converted = convert(state)
    assert (converted.source, converted.state, converted.dropped) == (None, state, [])
    assert convert({}).state == {}


def test_heads_are_left_to_the_loader(make_vit):
    converted = convert({**make_vit().state_dict(), 'head.weight': torch.zeros(3, 8)})
    assert 'head.weight' in converted.state
    assert converted.dropped == []
