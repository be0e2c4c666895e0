"""Swin's files as the original, the papers' code, timm and we write them."""

import re

import pytest
import timm
import torch
from torch import nn

import lightvit_dense
from lightvit_dense.checkpoints import (
    CheckpointError,
    load_backbone,
    load_classifier,
    save_backbone,
)
from lightvit_dense.checkpoints.conversion import inspect_checkpoint
from lightvit_dense.checkpoints.export_formats import huggingface_format, timm_classifier
from lightvit_dense.checkpoints.resize import resize_relative_bias
from lightvit_dense.errors import UserError
from lightvit_dense.models import ImageClassifier, SwinTransformer
from lightvit_dense.models.layers.swin import SwinBlock
from lightvit_dense.representation.attention_maps import check_layers

from .builders import equal, image, named, randomise, save, snapshot

ARCH = dict(embed_dim=12, depths=(1, 2, 2), num_heads=3)
SIZES = dict(arch=ARCH, img_size=64, window_size=4)


def swin(seed=0, **options):
    return randomise(SwinTransformer(**(SIZES | options)), seed, std=0.2)


def original(model, prefix=''):
    """Give a backbone as the original and the papers' code save it."""

    def earlier(match):
        return f'layers.{int(match[1]) - 1}.downsample.'

    merging = r'^layers\.(\d+)\.downsample\.'
    state = {re.sub(merging, earlier, n): value for n, value in model.state_dict().items()}
    for name, part in model.named_modules():
        if isinstance(part, SwinBlock):
            state[f'{name}.attn.relative_position_index'] = torch.zeros(16, 16).long()
            if any(part.shift_size):
                state[f'{name}.attn_mask'] = torch.zeros(4, 16, 16)
    return named(state, prefix)


def fine_tuned(backbone, linear):
    """Give a classifier as the papers' fine-tuning saves it."""
    return original(backbone, 'module.model.') | named(linear, 'module.model.head.')


def without_token(model):
    plain = swin(3, final_norm=False)
    plain.load_state_dict({n: model.state_dict()[n] for n in plain.state_dict()})
    return plain


def pretrained(d2):
    """Give a file of the papers' SimMIM, with its teacher if decoupled."""
    model = swin(mask_token=True, final_norm=False)
    width = 24 if d2 else 48  # of the stage that the decoder reads
    norm = {f'encoder.norm.{kind}': torch.ones(width) for kind in ('weight', 'bias')}
    state = original(model, 'encoder.') | norm
    state |= {'decoder.0.weight': torch.ones(2), 'decoder_pred.0.bias': torch.ones(2)}
    if not d2:
        return model, named(state, 'module.model.')
    cut = {
        'norm1.weight': (48,),
        'attn.qkv.weight': (144, 48),
        'attn.relative_position_index': (16, 16),
    }
    cut['attn.relative_position_bias_table'] = (49, 12)
    state |= {f'encoder.layers.2.blocks.2.{name}': torch.ones(cut[name]) for name in cut}
    teacher = original(swin(5, mask_token=True), 'module.tch_model.encoder.')
    adapter = {'module.attn_adapter.adapter12.weight': torch.ones(12, 12, 1, 1)}
    return model, named(state, 'module.model.') | teacher | adapter


@pytest.mark.parametrize('d2', [False, True])
def test_the_papers_pre_trained_files(d2, tmp_path):
    expected, state = pretrained(d2)
    path = save(tmp_path, {'start_epoch': 400, 'model': state, 'optimizer': {}})
    model = swin(9)
    before = model.norm.weight.clone()
    report = load_backbone(model, path, verbose=False)
    assert report.source == 'SimMIM Swin'
    assert (report.missing, report.unexpected) == (['norm.weight', 'norm.bias'], [])
    assert torch.equal(model.norm.weight, before)  # that of pre-training is left out
    assert bool(report.notes) == d2
    assert equal(without_token(expected), without_token(model))
    # A teacher takes its mask token along.
    teacher = swin(9, mask_token=True, final_norm=False)
    assert not load_backbone(teacher, path, strict=True, verbose=False).missing
    assert equal(teacher, expected)


@pytest.mark.parametrize(
    ('prefix', 'source'), [('', 'Swin'), ('module.model.', 'mae-lite Swin'), ('backbone.', 'Swin')]
)
def test_other_files_by_the_original_names_and_timms(prefix, source):
    expected = swin()
    for state in (original(expected, prefix), named(expected, prefix)):
        model = swin(9)
        report = load_backbone(model, state, strict=True, verbose=False)
        assert report.source == source
        assert equal(model, expected)


def test_the_papers_fine_tuned_classifier():
    backbone = dict(type='lightvit_dense.SwinTransformer', **SIZES)
    model = ImageClassifier(backbone, head=dict(num_classes=5, norm=False)).eval()
    expected, linear = swin(), nn.Linear(48, 5)
    load_classifier(model, fine_tuned(expected, linear), verbose=False, complete=True)
    torch.testing.assert_close(model(image(64)), linear(expected(image(64))[0].mean(1)))


def test_tables_of_another_window_are_resized():
    large, model = swin(window_size=6), swin(9)
    report = load_backbone(model, large.state_dict(), verbose=False)
    name = 'layers.0.blocks.0.attn.relative_position_bias_table'
    assert report.resized[name] == ((121, 3), (49, 3))
    expected = resize_relative_bias(large.state_dict()[name], (4, 4), extra=0)
    torch.testing.assert_close(model.state_dict()[name], expected)


def test_our_files_and_reserved_blocks(tmp_path):
    expected, path = swin(mask_token=True, final_norm=False), tmp_path / 'backbone.safetensors'
    save_backbone(expected, path, {})
    model = swin(9, final_norm=False)
    report = load_backbone(model, path, strict=True, verbose=False)
    assert report.dropped == ['mask_token']
    assert equal(without_token(expected), model)
    model = swin(9, final_norm=False)
    before = snapshot(model)
    load_backbone(model, expected.state_dict(), verbose=False, num_pretrained_blocks=1)
    taken = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    lower = ('patch_embed.', 'layers.0.', 'layers.1.downsample.')
    assert taken == {n for n in before if n.startswith(lower)}


def test_files_are_known_without_a_config_and_go_to_timm(tmp_path):
    expected, linear = swin(arch=ARCH | dict(depths=(2, 2)), img_size=32), nn.Linear(24, 5)
    path, x = save(tmp_path, {'model': fine_tuned(expected, linear)}), image()
    model = lightvit_dense.load(path, task='classification')
    scores = linear(expected(x)[0].mean(1))
    torch.testing.assert_close(model.network(x), scores)
    maps = model.features(x, layers=[1, 2, 4], pool='map')
    assert [tuple(maps[n].shape[1:]) for n in (1, 2, 4)] == [(12, 8, 8), (24, 4, 4), (24, 4, 4)]
    hidden = expected.encode(x, hidden_of=(2,)).hidden[2]
    torch.testing.assert_close(maps[2].flatten(2).transpose(1, 2), hidden)
    assert model.attention(x, layers=[1])[1].sum(-1).allclose(torch.ones(()))
    with pytest.raises(UserError, match=r'layers=\[2\]: attend in shifted windows'):
        model.attention(x, layers=[1, 2])
    with pytest.raises(UserError, match='shifted windows are not known here'):
        check_layers(expected, None)
    sizes = inspect_checkpoint(path).sizes
    assert (sizes.family, sizes.heads, sizes.stages, sizes.window) == ('swin', 3, (2, 2), 4)

    state, name, options = timm_classifier(model.network)
    theirs = timm.create_model(name, **options).eval()
    theirs.load_state_dict(state)
    torch.testing.assert_close(theirs(x), scores)
    with pytest.raises(CheckpointError, match='cannot express'):
        huggingface_format(expected)


def test_what_does_not_fit_is_refused():
    with pytest.raises(CheckpointError, match='has 5 blocks, the model 6'):
        load_backbone(swin(arch=ARCH | dict(depths=(1, 2, 3))), swin().state_dict())
    wider = swin(arch=ARCH | dict(embed_dim=24))
    with pytest.raises(CheckpointError, match='Build the model with the sizes of the checkpoint'):
        load_backbone(wider, swin().state_dict())
