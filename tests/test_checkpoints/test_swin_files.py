"""Swin's files as the original, the papers' code, timm and we write them."""

import re
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import lightvit_dense
from lightvit_dense.checkpoints import (
    CheckpointError,
    load_backbone,
    load_classifier,
    resize_relative_bias,
    save_backbone,
)
from lightvit_dense.checkpoints.conversion import inspect_checkpoint
from lightvit_dense.checkpoints.export_formats import huggingface_format, timm_classifier
from lightvit_dense.errors import UserError
from lightvit_dense.models import ImageClassifier, SwinTransformer
from lightvit_dense.models.layers.swin import SwinBlock
from lightvit_dense.representation.attention_maps import check_layers

SIZES = dict(arch=dict(embed_dim=12, depths=(1, 2, 2), num_heads=3), img_size=64, window_size=4)


def swin(seed: int = 0, **options: object) -> SwinTransformer:
    model = SwinTransformer(**(SIZES | options))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


def original(model: nn.Module, prefix: str = '') -> dict[str, Tensor]:
    """Give a backbone as the original and the papers' code save it."""

    def earlier(match: re.Match) -> str:
        return f'layers.{int(match[1]) - 1}.downsample.'

    state = {}
    for name, tensor in model.state_dict().items():
        state[prefix + re.sub(r'^layers\.(\d+)\.downsample\.', earlier, name)] = tensor
    for name, part in model.named_modules():
        if isinstance(part, SwinBlock):
            state[f'{prefix}{name}.attn.relative_position_index'] = torch.zeros(16, 16).long()
            if any(part.shift_size):
                state[f'{prefix}{name}.attn_mask'] = torch.zeros(4, 16, 16)
    return state


def same(model: nn.Module, expected: nn.Module) -> bool:
    state = expected.state_dict()
    return all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def pretrained(d2: bool) -> tuple[SwinTransformer, dict[str, Tensor]]:
    """Give a file of the papers' SimMIM, with its teacher if decoupled."""
    model = swin(mask_token=True, final_norm=False)
    state = original(model, 'module.model.encoder.')
    width = 24 if d2 else 48  # of the stage that the decoder reads
    state |= {f'module.model.encoder.norm.{kind}': torch.ones(width) for kind in ('weight', 'bias')}
    state |= {
        'module.model.decoder.0.weight': torch.ones(2),
        'module.model.decoder_pred.0.bias': torch.ones(2),
    }
    if d2:
        cut = 'module.model.encoder.layers.2.blocks.2.'
        state |= {
            cut + 'norm1.weight': torch.ones(48),
            cut + 'attn.qkv.weight': torch.ones(144, 48),
        }
        state |= {cut + 'attn.relative_position_bias_table': torch.ones(49, 12)}
        state |= {cut + 'attn.relative_position_index': torch.zeros(16, 16).long()}
        teacher = original(swin(5, mask_token=True), 'module.tch_model.encoder.')
        state |= teacher | {'module.attn_adapter.adapter12.weight': torch.ones(12, 12, 1, 1)}
    return model, state


@pytest.mark.parametrize('d2', [False, True])
def test_the_papers_pre_trained_files(d2: bool, tmp_path: Path) -> None:
    expected, state = pretrained(d2)
    torch.save({'start_epoch': 400, 'model': state, 'optimizer': {}}, tmp_path / 'a.pth.tar')
    model = swin(9)
    before = model.norm.weight.clone()
    report = load_backbone(model, tmp_path / 'a.pth.tar', verbose=False)
    assert report.source == 'SimMIM Swin'
    assert (report.missing, report.unexpected) == (['norm.weight', 'norm.bias'], [])
    assert torch.equal(model.norm.weight, before)  # that of pre-training is left out
    assert bool(report.notes) == d2
    assert same(swin_without_token(expected), swin_without_token(model))
    # A teacher takes its mask token along.
    teacher = swin(9, mask_token=True, final_norm=False)
    assert not load_backbone(teacher, tmp_path / 'a.pth.tar', strict=True, verbose=False).missing
    assert same(teacher, expected)


def swin_without_token(model: SwinTransformer) -> SwinTransformer:
    plain = swin(3, final_norm=False)
    plain.load_state_dict({n: model.state_dict()[n] for n in plain.state_dict()})
    return plain


@pytest.mark.parametrize(
    ('prefix', 'source'), [('', 'Swin'), ('module.model.', 'mae-lite Swin'), ('backbone.', 'Swin')]
)
def test_other_files_by_the_original_names_and_timms(prefix: str, source: str) -> None:
    expected = swin()
    timms = {prefix + name: value for name, value in expected.state_dict().items()}
    for state in (original(expected, prefix), timms):
        model = swin(9)
        report = load_backbone(model, state, strict=True, verbose=False)
        assert report.source == source
        assert same(model, expected)


def test_the_papers_fine_tuned_classifier() -> None:
    backbone = dict(type='lightvit_dense.SwinTransformer', **SIZES)
    model = ImageClassifier(backbone, head=dict(num_classes=5, norm=False)).eval()
    expected, linear = swin(), nn.Linear(48, 5)
    state = original(expected, 'module.model.')
    state |= {f'module.model.head.{name}': value for name, value in linear.state_dict().items()}
    load_classifier(model, state, verbose=False, complete=True)
    image = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(image), linear(expected(image)[0].mean(1)))


def test_tables_of_another_window_are_resized() -> None:
    large = swin(window_size=6)
    model = swin(9)
    report = load_backbone(model, large.state_dict(), verbose=False)
    name = 'layers.0.blocks.0.attn.relative_position_bias_table'
    assert report.resized[name] == ((121, 3), (49, 3))
    expected = resize_relative_bias(large.state_dict()[name], (4, 4), extra=0)
    torch.testing.assert_close(model.state_dict()[name], expected)


def test_our_files_and_reserved_blocks(tmp_path: Path) -> None:
    expected = swin(mask_token=True, final_norm=False)
    save_backbone(expected, tmp_path / 'backbone.safetensors', {})
    model = swin(9, final_norm=False)
    report = load_backbone(model, tmp_path / 'backbone.safetensors', strict=True, verbose=False)
    assert report.dropped == ['mask_token']
    assert same(swin_without_token(expected), model)
    model = swin(9, final_norm=False)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    load_backbone(model, expected.state_dict(), verbose=False, num_pretrained_blocks=1)
    taken = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    lower = ('patch_embed.', 'layers.0.', 'layers.1.downsample.')
    assert taken == {n for n in before if n.startswith(lower)}


def test_files_are_known_without_a_config_and_go_to_timm(tmp_path: Path) -> None:
    arch = SIZES['arch'] | dict(depths=(2, 2))
    expected, linear = swin(arch=arch, img_size=32), nn.Linear(24, 5)
    state = original(expected, 'module.model.')
    state |= {f'module.model.head.{name}': value for name, value in linear.state_dict().items()}
    torch.save({'model': state}, tmp_path / 'a.pth.tar')
    model = lightvit_dense.load(tmp_path / 'a.pth.tar', task='classification')
    image = torch.randn(2, 3, 32, 32)
    scores = linear(expected(image)[0].mean(1))
    torch.testing.assert_close(model.network(image), scores)
    maps = model.features(image, layers=[1, 2, 4], pool='map')
    assert [tuple(maps[n].shape[1:]) for n in (1, 2, 4)] == [(12, 8, 8), (24, 4, 4), (24, 4, 4)]
    hidden = expected.encode(image, hidden_of=(2,)).hidden[2]
    torch.testing.assert_close(maps[2].flatten(2).transpose(1, 2), hidden)
    assert model.attention(image, layers=[1])[1].sum(-1).allclose(torch.ones(()))
    with pytest.raises(UserError, match=r'layers=\[2\]: attend in shifted windows'):
        model.attention(image, layers=[1, 2])
    with pytest.raises(UserError, match='shifted windows are not known here'):
        check_layers(expected, None)
    sizes = inspect_checkpoint(tmp_path / 'a.pth.tar').sizes
    assert (sizes.family, sizes.heads, sizes.stages, sizes.window) == ('swin', 3, (2, 2), 4)

    state, name, options = timm_classifier(model.network)
    theirs = timm.create_model(name, **options).eval()
    theirs.load_state_dict(state)
    torch.testing.assert_close(theirs(image), scores)
    with pytest.raises(CheckpointError, match='cannot express'):
        huggingface_format(expected)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(CheckpointError, match='has 5 blocks, the model 6'):
        load_backbone(swin(arch=SIZES['arch'] | dict(depths=(1, 2, 3))), swin().state_dict())
    wider = swin(arch=SIZES['arch'] | dict(embed_dim=24))
    with pytest.raises(CheckpointError, match='Build the model with the sizes of the checkpoint'):
        load_backbone(wider, swin().state_dict())
