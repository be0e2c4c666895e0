"""Whole classifiers of other packages: ours must compute the scores that theirs compute."""

import re

import pytest
import torch
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.hiera import Hiera as TimmHiera
from timm.models.vision_transformer import VisionTransformer as TimmViT

from lightvit_dense.checkpoints import CheckpointError, load_classifier

from .builders import (
    ARCH,
    BIAS,
    HIERA,
    PLAIN,
    classifier,
    equal,
    hf_hiera,
    hf_vit,
    image,
    meta_hiera,
    named,
    randomise,
    refused,
    save,
    timm_sizes,
)

CLS = dict(pool='cls', norm=False)
OURS = dict(type='lightvit_dense.Hiera')


def mae_lite(state):
    """Name the classifier as mae-lite's training does, beside its averaged copy and a teacher."""
    averaged = {k: torch.zeros_like(v) for k, v in state.items()}
    state = named(state, 'module.model.') | named(averaged, 'module.ema_model.module.')
    return {'start_epoch': 300, 'model': state}


def timms(kind, **options):
    return lambda: kind(**timm_sizes(**options))


def timm_hiera():
    return TimmHiera(img_size=(64, 64), **HIERA, num_classes=5)


def hf(kind, build=hf_vit, **options):
    return lambda: build(f'{kind}ForImageClassification', num_labels=5, **options)


MEAN = dict(global_pool='avg')
TABLES = dict(use_relative_position_bias=True, use_absolute_position_embeddings=True)
# How theirs is built, the options of ours, and what the file is called.
FOREIGN = {
    'timm, class token': (timms(TimmViT), CLS, PLAIN),
    'timm, mean': (timms(TimmViT, **MEAN), {}, PLAIN),
    'timm, mean after the norm': (timms(TimmViT, **MEAN, fc_norm=False), dict(norm=False), PLAIN),
    'timm BEiT': (timms(Beit, use_rel_pos_bias=True, init_values=0.1), BIAS, PLAIN),
    'HF ViT': (hf('ViT'), CLS, 'Hugging Face ViT'),
    'HF BEiT': (hf('Beit', use_mean_pooling=True, **TABLES), BIAS, 'Hugging Face BEiT'),
    'Meta Hiera': (meta_hiera, OURS, 'Hiera (Meta)'),
    'timm Hiera': (timm_hiera, OURS, 'Hiera (timm)'),
    'HF Hiera': (hf('', hf_hiera), OURS, 'Hugging Face Hiera'),
}


@torch.no_grad()
@pytest.mark.parametrize('kind', list(FOREIGN))
def test_foreign_classifiers_give_their_scores(kind):
    build, options, source = FOREIGN[kind]
    theirs, model = randomise(build(), std=0.3), classifier(1, **options)
    report = load_classifier(model, theirs.state_dict(), complete=True, verbose=False)
    assert report.source == source
    assert set(report.matched) == set(model.state_dict())
    assert not set(report.dropped) & {'head.weight', 'classifier.weight', 'head.fc.weight'}
    x = image(64 if 'Hiera' in kind else 32)
    found, expected = model(x), theirs(x)
    expected = getattr(expected, 'logits', expected)
    if kind == 'Meta Hiera':  # its head returns probabilities in evaluation
        expected = expected.log() - expected.log().mean(-1, keepdim=True)
        found = found - found.mean(-1, keepdim=True)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('biases', ['q and v', 'qkv'])
def test_the_authors_fine_tuned_files(tmp_path, biases):
    """mae-lite: relative positions, mean of the patches, q_bias and v_bias or a plain qkv bias."""
    theirs = randomise(Beit(**timm_sizes(use_rel_pos_bias=True)), std=0.3)
    state = dict(theirs.state_dict())
    index = {f'blocks.{i}.attn.relative_position_index': torch.zeros(17, 17) for i in range(2)}
    if biases == 'qkv':
        for i in range(2):
            parts = [state.pop(f'blocks.{i}.attn.{kind}_bias') for kind in 'qv']
            key = torch.randn(16)
            state[f'blocks.{i}.attn.qkv.bias'] = torch.cat([parts[0], key, parts[1]])
    model = classifier(1, **BIAS)
    path = save(tmp_path, mae_lite(state | index))
    assert load_classifier(model, path, complete=True, verbose=False).source == 'mae-lite'
    torch.testing.assert_close(model(image()), theirs(image()), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_authors_fine_tuned_hiera(tmp_path):
    """mae-lite: Meta's names and Meta's order, first the mean, then the norm."""
    theirs = randomise(meta_hiera(), std=0.3)
    for name, parameter in theirs.named_parameters():
        if 'norm' in name and name.endswith('weight'):
            parameter.add_(1)  # so that tokens differ from each other
    path, model = save(tmp_path, mae_lite(theirs.state_dict())), classifier(1, **OURS)
    report = load_classifier(model, path, complete=True, verbose=False)
    assert report.source == 'mae-lite'
    assert set(report.matched) == set(model.state_dict())
    tokens = theirs(image(64), return_intermediates=True)[1][-1].flatten(1, 2)
    scores = [
        theirs.head.projection(order)
        for order in (theirs.norm(tokens.mean(1)), theirs.norm(tokens).mean(1))
    ]
    torch.testing.assert_close(model(image(64)), scores[0], atol=2e-5, rtol=1e-5)
    assert (scores[0] - scores[1]).abs().max() > 1e-3
    with pytest.raises(CheckpointError, match=r'final_norm=False, model\.head\.norm=True'):
        load_classifier(classifier(**OURS, norm=False), path)


TEACHER = dict(
    type='lightvit_dense.ImageClassifier',
    backbone=dict(type='lightvit_dense.VisionTransformer', arch=ARCH, img_size=32, patch_size=8),
    head=dict(num_classes=5),
)


@torch.no_grad()
@pytest.mark.parametrize(
    'options',
    [
        dict(OURS, norm=False),  # its norm before the pooling
        dict(distiller=dict(type='lightvit_dense.LogitDistiller', teacher=TEACHER)),
    ],
)
def test_our_own_classifier_comes_back_whole(options):
    source, target = classifier(0, **options), classifier(1, **options)
    report = load_classifier(target, source.state_dict(), complete=True, verbose=False)
    assert ('distiller.head_dist.weight' in report.matched) == ('distiller' in options)
    x = image(64 if 'type' in options else 32)
    assert torch.equal(source(x), target(x))


def test_our_own_file_comes_back_whole_at_another_size(tmp_path):
    source, target = classifier(), classifier(1, img_size=48)
    path = save(tmp_path, {'state_dict': source.state_dict()}, 'epoch_1.pth')
    report = load_classifier(target, path, complete=True, verbose=False)
    assert report.resized == {'backbone.pos_embed': ((1, 17, 16), (1, 37, 16))}
    torch.testing.assert_close(source(image(48)), target(image(48)), atol=1e-5, rtol=1e-5)


def test_another_number_of_classes_drops_the_linear_layer_and_says_so():
    source, target = classifier(), classifier(1, classes=7)
    before = target.head.fc.weight.clone()
    report = load_classifier(target, source.state_dict())
    assert 'head.fc of 5 classes was dropped: the model has 7 classes' in str(report)
    assert report.missing == ['head.fc.weight', 'head.fc.bias']
    assert torch.equal(target.head.fc.weight, before)
    assert torch.equal(target.head.fc_norm.weight, source.head.fc_norm.weight)
    with pytest.raises(CheckpointError, match='is not the whole classifier'):
        load_classifier(target, source.state_dict(), complete=True)


def test_a_pre_trained_backbone_is_no_classifier():
    source, target = classifier(final_norm=True), classifier(1)
    state = source.backbone.state_dict()
    report = load_classifier(target, state, verbose=False)
    assert 'has no classifier: head.fc stays as initialised' in str(report)
    assert report.missing == [f'head.{n}' for n in target.head.state_dict()]
    with pytest.raises(CheckpointError, match=r'missing +4: head\.fc_norm(.|\n)*not the whole'):
        load_classifier(target, state, complete=True)


@pytest.mark.parametrize(
    ('theirs', 'ours', 'message'),
    [
        ('timm, class token', {}, r'final_norm=True, model\.head\.norm=False'),
        ('timm, mean', CLS, r'final_norm=False, model\.head\.norm=True'),
        ('HF ViT', dict(norm=False), r"model\.head\.pool='cls'"),
        ('Meta Hiera', dict(OURS, norm=False), r'head\.norm=True'),
        ('timm, mean', dict(pool='cls', final_norm=False), r"model\.head\.pool='mean'"),
    ],
)
def test_a_head_that_would_read_other_features_is_refused(theirs, ours, message):
    state, target = FOREIGN[theirs][0]().state_dict(), classifier(1, **ours)
    with refused(target, message):
        load_classifier(target, state)
    load_classifier(classifier(classes=6, **ours), state, verbose=False)


def test_deits_second_head_and_token_have_no_place():
    theirs, model = randomise(VisionTransformerDistilled(**timm_sizes())), classifier(**CLS)
    report = load_classifier(model, theirs.state_dict(), verbose=False)
    text = str(report)
    assert 'the head of the distillation token was dropped' in text
    assert 'the model lacks dist_token: its outputs differ' in text
    with pytest.raises(CheckpointError, match='is not the whole classifier'):
        load_classifier(model, theirs.state_dict(), complete=True)


def test_dinov2s_two_tokens_are_refused():
    theirs = hf('Dinov2', mlp_ratio=4)()
    with pytest.raises(CheckpointError, match=r'shape \(5, 32\), the model needs \(5, 16\)'):
        load_classifier(classifier(**CLS), theirs.state_dict())


def test_initializer(tmp_path):
    source = classifier()
    head = {re.sub(r'^fc\.', 'head.', n): t for n, t in source.head.state_dict().items()}
    path = save(tmp_path, mae_lite({**source.backbone.state_dict(), **head}))
    cfg = dict(type='lightvit_dense.PretrainedClassifier', checkpoint=str(path))
    target = classifier(1, init_cfg=cfg)
    again = dict(type='mmengine.TruncNormal', layer='Linear', std=0.02, bias=0.0)
    target.backbone.init_cfg = again
    target.init_weights()
    assert equal(target, source)
    other = classifier(1, classes=7, init_cfg=cfg)
    fresh = other.head.fc.weight.clone()
    other.init_weights()
    assert torch.equal(other.head.fc.weight, fresh)
    assert torch.equal(other.backbone.pos_embed, source.backbone.pos_embed)
    two = dict(type='lightvit_dense.PretrainedBackbone', checkpoint='b.pth')
    refusing = classifier(1, classes=7, init_cfg=cfg)
    refusing.backbone.init_cfg = two
    with pytest.raises(CheckpointError, match=r'b\.pth: .* by model\.init_cfg\.checkpoint'):
        refusing.init_weights()
