"""Our classifiers in timm and Hugging Face give the same scores."""

import json

import pytest
import torch
from transformers import HieraForImageClassification, ViTForImageClassification

from lightvit_dense.checkpoints import CheckpointError, load_classifier
from lightvit_dense.checkpoints.export import save_backbone, save_huggingface, save_timm

from .builders import BIAS, classifier, equal, from_timm, image_for

HIERA = dict(type='lightvit_dense.Hiera')
CLS = dict(pool='cls', norm=False)
OBLONG = dict(img_size=(24, 40))


def comes_back(ours, path, **options):
    """Tell whether a classifier of the same options gets the scores from a file."""
    again, x = classifier(1, **options), image_for(ours.backbone)
    load_classifier(again, path, complete=True, verbose=False)
    torch.testing.assert_close(again(x), ours(x), atol=2e-5, rtol=1e-5)
    return True


@torch.no_grad()
@pytest.mark.parametrize(
    'options',
    [
        dict(),
        OBLONG,
        CLS,
        dict(norm=False),
        dict(norm=False, final_norm=False),
        dict(pool='cls'),
        dict(cls_token=False),
        dict(CLS, batch_norm=True),
        BIAS,
        BIAS | OBLONG,
        BIAS | CLS,
        HIERA,
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
    # And back, but for a BatchNorm that has become part of the linear layer, and for a class token
    # that is normalised after the blocks, which a file cannot tell from the mean.
    told = not options.get('batch_norm') and options != dict(pool='cls')
    assert not told or comes_back(ours, path, **options)


@torch.no_grad()
@pytest.mark.parametrize(
    ('options', 'theirs'),
    [
        (CLS, ViTForImageClassification),
        (HIERA, HieraForImageClassification),
    ],
)
def test_hugging_face_gives_our_scores(tmp_path, options, theirs):
    ours = classifier(**options)
    save_huggingface(ours, tmp_path / 'a', {}, {})
    model, loaded = theirs.from_pretrained(tmp_path / 'a', output_loading_info=True)
    assert not any(loaded[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    x = image_for(ours.backbone)
    torch.testing.assert_close(model.eval()(x).logits, ours(x), atol=2e-5, rtol=1e-5)
    assert comes_back(ours, tmp_path / 'a/model.safetensors', **options)


@pytest.mark.parametrize(
    ('save', 'options', 'message'),
    [
        (save_timm, dict(final_norm=True), 'LayerNorms before and after the pooling'),
        (save_timm, dict(BIAS, cls_token=False), 'no class'),
        (save_timm, dict(HIERA, norm=False), 'no LayerNorm after the pooling'),
        (save_huggingface, dict(), 'does not read the class token(.|\n)*--to timm'),
        (save_huggingface, BIAS, 'relative positions'),
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
    again = classifier(1)
    load_classifier(again, tmp_path / name, complete=True, verbose=False)
    assert equal(again, ours)
