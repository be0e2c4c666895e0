"""Our classifiers in timm and Hugging Face give the same scores."""

import json

import pytest
import timm
import torch
from transformers import HieraForImageClassification, ViTForImageClassification

from lightvit_dense.checkpoints import CheckpointError, load_classifier
from lightvit_dense.checkpoints.export import (
    save_backbone,
    save_huggingface,
    save_timm,
)
from lightvit_dense.registry import MODELS

ARCH = dict(embed_dim=16, depth=2, num_heads=4)
HIERA = dict(
    type='lightvit_dense.Hiera',
    arch=dict(embed_dim=8, stages=(1, 2, 1, 1), num_heads=1),
    img_size=64,
)
CLS = dict(pool='cls', norm=False)


def classifier(final_norm=False, backbone=(), **head):
    vit = dict(type='lightvit_dense.VisionTransformer', arch=ARCH, img_size=32, patch_size=8)
    backbone = backbone if 'type' in backbone else {**vit, **dict(backbone)}
    model = MODELS.build(
        dict(
            type='lightvit_dense.ImageClassifier',
            backbone=dict(backbone, final_norm=final_norm),
            head=dict(dict(num_classes=5), **head),
        )
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
        for name, buffer in model.named_buffers():
            if name.endswith('running_var'):
                buffer.uniform_(0.5, 2)
            elif name.endswith('running_mean'):
                buffer.normal_()
    return model.eval()


def image(model):
    height, width = (side * model.backbone.patch_size for side in model.backbone.grid_size)
    return torch.randn(3, 3, height, width)


@torch.no_grad()
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(backbone=dict(img_size=(24, 40))),
        dict(final_norm=True, **CLS),
        dict(final_norm=True, norm=False),
        dict(norm=False),
        dict(pool='cls'),
        dict(backbone=dict(cls_token=False)),
        dict(final_norm=True, **CLS, batch_norm=True),
        dict(backbone=dict(rel_pos=dict(kind='bias'))),
        dict(backbone=dict(rel_pos=dict(kind='bias'), img_size=(24, 40))),
        dict(backbone=dict(rel_pos=dict(kind='bias')), final_norm=True, **CLS),
        dict(backbone=HIERA),
    ],
)
def test_timm_gives_our_scores(tmp_path, options):
    ours = classifier(**options)
    path = tmp_path / 'a.safetensors'
    metadata = json.loads(save_timm(ours, path, {}, {}).read_text())
    call = metadata['timm']['call'].replace("'a.safetensors'", repr(str(path)))
    theirs = eval(call, {'timm': timm}).eval()
    x = image(ours)
    expected = ours(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(theirs(x), expected, atol=2e-5, rtol=1e-5)
    assert metadata['architecture']['arch']['num_heads'] in (4, 1)
    # And back, but for a BatchNorm that has become part of the linear layer, and for a class token
    # that is normalised after the blocks, which a file cannot tell from the mean.
    if not options.get('batch_norm') and options != dict(pool='cls'):
        again = classifier(**options)
        torch.nn.init.zeros_(again.head.fc.weight)
        load_classifier(again, path, complete=True, verbose=False)
        torch.testing.assert_close(again(x), expected, atol=2e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ('options', 'theirs'),
    [
        (dict(final_norm=True, **CLS), ViTForImageClassification),
        (dict(backbone=HIERA), HieraForImageClassification),
    ],
)
def test_hugging_face_gives_our_scores(tmp_path, options, theirs):
    ours = classifier(**options)
    save_huggingface(ours, tmp_path / 'a', {}, {})
    model, loaded = theirs.from_pretrained(tmp_path / 'a', output_loading_info=True)
    assert not any(loaded[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    x = image(ours)
    torch.testing.assert_close(model.eval()(x).logits, ours(x), atol=2e-5, rtol=1e-5)
    again = classifier(**options)
    torch.nn.init.zeros_(again.head.fc.weight)
    load_classifier(again, tmp_path / 'a/model.safetensors', complete=True, verbose=False)
    torch.testing.assert_close(again(x), ours(x), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ('save', 'options', 'message'),
    [
        (save_timm, dict(final_norm=True), 'LayerNorms before and after the pooling'),
        (
            save_timm,
            dict(backbone=dict(rel_pos=dict(kind='bias'), cls_token=False)),
            'no class',
        ),
        (save_timm, dict(backbone=HIERA, norm=False), 'no LayerNorm after the pooling'),
        (save_huggingface, dict(), 'does not read the class token(.|\n)*--to timm'),
        (
            save_huggingface,
            dict(backbone=dict(rel_pos=dict(kind='bias'))),
            'relative positions',
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused(tmp_path, save, options, message):
    with pytest.raises(CheckpointError, match=message):
        save(classifier(**options), tmp_path / 'a.safetensors', {}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_our_own_file(tmp_path, name):
    ours = classifier()
    save_backbone(ours, tmp_path / name, {'why': 'test'}, {'type': 'x'})
    metadata = json.loads((tmp_path / 'a.json').read_text())
    assert metadata['format'] == 'lightvit_dense.classifier'
    assert metadata['parameters'] == sum(p.numel() for p in ours.parameters())
    again = classifier()
    torch.nn.init.zeros_(again.head.fc.weight)
    load_classifier(again, tmp_path / name, complete=True, verbose=False)
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in again.state_dict().items())
