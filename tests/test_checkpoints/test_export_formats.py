"""What we write for timm and Hugging Face is loaded there and computes the same."""

import hashlib
import json

import pytest
import torch
import transformers

from lightvit_dense.checkpoints import (
    CheckpointError,
    load_backbone,
    load_classifier,
    save_backbone,
    save_huggingface,
    save_timm,
)
from lightvit_dense.checkpoints.containers import open_checkpoint
from lightvit_dense.checkpoints.convert import convert

from .builders import (
    ARCH,
    BIAS,
    classifier,
    equal,
    from_timm,
    gap,
    image_for,
    our_hiera,
    refused,
    vit,
)

CLOSE = 1e-5
HIERA = dict(type='lightvit_dense.Hiera')
CLS = dict(pool='cls', norm=False)
OBLONG = dict(img_size=(24, 40))
SAVERS = [save_backbone, save_timm, save_huggingface]


def check_return(ours, path, options):
    """A classifier of the same options gets the scores from a file."""
    again, x = classifier(1, **options), image_for(ours.backbone)
    load_classifier(again, path, complete=True, verbose=False)
    torch.testing.assert_close(again(x), ours(x), atol=2e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    'options',
    [
        dict(OBLONG, qkv_bias=False),
        CLS,
        dict(norm=False),
        dict(norm=False, final_norm=False),
        dict(pool='cls'),
        dict(cls_token=False, arch=dict(ARCH, mlp_ratio=2.0)),
        dict(CLS, batch_norm=True, layer_scale=0.5),
        BIAS,
        BIAS | OBLONG,
        BIAS | CLS | dict(layer_scale=0.5),
        HIERA,
        dict(HIERA, q_pool=2, img_size=(64, 96)),
    ],
)
def test_timm_gives_our_scores(tmp_path, options):
    ours, path = classifier(**options), tmp_path / 'a.safetensors'
    metadata = json.loads(save_timm(ours, path, {}, {}).read_text())
    assert metadata['architecture']['arch']['num_heads'] in (4, 1)
    x = image_for(ours.backbone)
    expected = ours(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(from_timm(path)(x), expected, atol=2e-5, rtol=1e-5)
    # And back, but for a LayerScale and a BatchNorm that have become part of linear layers, and for
    # a class token that is normalised after the blocks, which a file cannot tell from the mean.
    if 'layer_scale' not in options and options != dict(pool='cls'):
        check_return(ours, path, options)


@torch.no_grad()
@pytest.mark.parametrize(
    ('build', 'options'),
    [
        (vit, dict(arch='tiny', patch_size=16)),  # 12 heads, where timm's has 3
        (vit, dict(final_norm=False)),
        (vit, dict(cls_token=False)),
        (vit, BIAS),
        (our_hiera, dict()),
    ],
)
def test_timm_gives_the_tokens_of_our_backbone(tmp_path, build, options):
    ours, path = build(**options), tmp_path / 'a.safetensors'
    save_timm(ours, path, {})
    theirs, x = from_timm(path), image_for(ours)
    found = theirs.forward_features(x)
    assert gap(found if build is vit else theirs.head.norm(found), ours(x)[-1]) < CLOSE


def from_hugging_face(kind, path, **options):
    theirs, loaded = getattr(transformers, kind).from_pretrained(
        path, output_loading_info=True, **options
    )
    assert not any(loaded[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    return theirs.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    'options',
    [
        CLS,
        CLS | OBLONG | dict(qkv_bias=False),
        dict(CLS, layer_scale=0.5),
        HIERA,
        dict(HIERA, q_pool=2),
        dict(HIERA, mask_unit_attn=(True, False, False, False)),
    ],
)
def test_hugging_face_gives_our_scores(tmp_path, options):
    ours, kind = classifier(**options), 'Hiera' if 'type' in options else 'ViT'
    save_huggingface(ours, tmp_path / 'a', {}, {})
    theirs = from_hugging_face(f'{kind}ForImageClassification', tmp_path / 'a')
    x = image_for(ours.backbone)
    torch.testing.assert_close(theirs(x).logits, ours(x), atol=2e-5, rtol=1e-5)
    if 'layer_scale' not in options:
        check_return(ours, tmp_path / 'a/model.safetensors', options)


@torch.no_grad()
def test_hugging_face_gives_the_tokens_of_our_backbone(tmp_path):
    ours = vit()
    save_huggingface(ours, tmp_path / 'a', {'why': 'test'})
    theirs = from_hugging_face('ViTModel', tmp_path / 'a', add_pooling_layer=False)
    x = image_for(ours)
    assert gap(theirs(x).last_hidden_state, ours(x)[-1]) < CLOSE
    mae = from_hugging_face('ViTMAEModel', tmp_path / 'a', mask_ratio=0.0)
    order = torch.arange(16.0).expand(2, -1)
    assert gap(mae(x, noise=order).last_hidden_state, ours(x)[-1]) < CLOSE
    ours = our_hiera()
    save_huggingface(ours, tmp_path / 'b', {})
    theirs, x = from_hugging_face('HieraModel', tmp_path / 'b'), image_for(ours)
    maps = theirs(x, output_hidden_states=True).reshaped_hidden_states
    assert gap(theirs.pooler.layernorm(maps[-1]).flatten(1, 2), ours(x)[-1]) < CLOSE


@pytest.mark.parametrize('build', [vit, our_hiera])
@pytest.mark.parametrize('save', SAVERS)
def test_round_trips_are_exact_and_know_the_heads(tmp_path, build, save):
    ours, path = build(), tmp_path / 'model.safetensors'
    save(ours, tmp_path if save is save_huggingface else path, {})
    assert equal(convert(open_checkpoint(path).state).state, ours)
    other = build(1)
    load_backbone(other, path, strict=True, verbose=False)
    assert equal(other, ours)
    if build is vit:
        other = vit(1, dict(ARCH, num_heads=2))
        with refused(other, 'trained with 4 heads, the model has 2'):
            load_backbone(other, path)


TABLES = dict(cls_token=False, rel_pos=dict(kind='decomposed', size=32))


@pytest.mark.parametrize(
    ('save', 'build', 'options', 'message'),
    [
        (save_timm, vit, dict(cls_token=False, window=dict(size=2)), 'has windows, which timm'),
        (save_timm, vit, TABLES, 'has relative positions'),
        (save_huggingface, vit, dict(final_norm=False), 'has no final norm, which Hugging Face'),
        (save_huggingface, vit, dict(cls_token=False), 'no class token'),
        (save_timm, classifier, dict(final_norm=True), 'LayerNorms before and after the pooling'),
        (save_timm, classifier, dict(BIAS, cls_token=False), 'no class'),
        (save_timm, classifier, dict(HIERA, norm=False), 'no LayerNorm after the pooling'),
        (save_huggingface, classifier, {}, 'does not read the class token(.|\n)*--to timm'),
        (save_huggingface, classifier, BIAS, 'relative positions'),
    ],
)
def test_what_cannot_be_expressed_is_refused(tmp_path, save, build, options, message):
    with pytest.raises(CheckpointError, match=message):
        save(build(**options), tmp_path / 'a.safetensors', {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('build', 'name'),
    [(classifier, 'a.pth'), (classifier, 'a.safetensors'), (vit, 'a.safetensors')],
)
def test_our_own_file(tmp_path, build, name):
    ours, meta, path = build(), dict(config='mae.py', teacher=None), tmp_path / 'new' / name
    sibling = save_backbone(ours, path, meta, {'type': 'x'})
    metadata = json.loads(sibling.read_text())
    kind = 'backbone' if build is vit else 'classifier'
    assert metadata['format'] == f'lightvit_dense.{kind}'
    assert metadata['parameters'] == sum(p.numel() for p in ours.parameters())
    assert metadata['sha256'] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (metadata['meta'], metadata['architecture']['grid_size']) == (meta, [4, 4])
    assert sorted(tmp_path.rglob('*.*')) == sorted([path, path.with_suffix('.json')])
    again = build(1)
    (load_backbone if build is vit else load_classifier)(again, path, verbose=False)
    assert equal(again, ours)


def test_other_endings_and_metadata_are_refused(tmp_path):
    with pytest.raises(ValueError, match='must end in'):
        save_backbone(vit(), tmp_path / 'a.pth', {})
    with pytest.raises(ValueError, match='plain data'):
        save_backbone(vit(), tmp_path / 'a.safetensors', {'x': torch.zeros(1)})
    assert not list(tmp_path.iterdir())
