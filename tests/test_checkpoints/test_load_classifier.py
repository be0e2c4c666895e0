"""Whole classifiers of other packages: ours must compute the scores that theirs compute."""

import hiera
import pytest
import torch
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.hiera import Hiera as TimmHiera
from timm.models.vision_transformer import VisionTransformer as TimmViT
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    HieraConfig,
    HieraForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from lightvit_dense.checkpoints import CheckpointError, load_classifier
from lightvit_dense.registry import MODELS

ARCH = dict(embed_dim=16, depth=2, num_heads=4)
HIERA = dict(embed_dim=8, stages=(1, 2, 1, 1), num_heads=1)


def randomise(model, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def classifier(classes=5, pool='mean', norm=True, init_cfg=None, distiller=None, **backbone):
    size = dict(arch=ARCH, img_size=32, patch_size=8, final_norm=not norm)
    if backbone.get('type') == 'lightvit_dense.Hiera':
        size = dict(arch=HIERA, img_size=64, final_norm=not norm)
    return MODELS.build(
        dict(
            type='lightvit_dense.ImageClassifier',
            backbone={'type': 'lightvit_dense.VisionTransformer', **size, **backbone},
            head=dict(num_classes=classes, pool=pool, norm=norm),
            distiller=distiller,
            init_cfg=init_cfg,
        )
    )


def timm_vit(**kwargs):
    sizes = dict(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=4, num_classes=5)
    return {**sizes, **kwargs}


def huggingface(**kwargs):
    common = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, patch_size=8)
    common |= dict(image_size=32, layer_norm_eps=1e-6, num_labels=5, intermediate_size=64)
    return {**common, **kwargs}


def mae_lite(state):
    """Name the classifier as mae-lite's training does, beside its averaged copy and a teacher."""
    named = {f'module.model.{k}': v for k, v in state.items()}
    named |= {f'module.ema_model.module.{k}': torch.zeros_like(v) for k, v in state.items()}
    return {'start_epoch': 300, 'model': named}


FOREIGN = {
    'timm, class token': lambda: (TimmViT(**timm_vit()), dict(pool='cls', norm=False)),
    'timm, mean': lambda: (TimmViT(**timm_vit(global_pool='avg')), {}),
    'timm, mean after the norm': lambda: (
        TimmViT(**timm_vit(global_pool='avg', fc_norm=False)),
        dict(norm=False),
    ),
    'timm BEiT': lambda: (Beit(**timm_vit(use_rel_pos_bias=True)), dict(rel_pos=dict(kind='bias'))),
    'HF ViT': lambda: (
        ViTForImageClassification(ViTConfig(**huggingface())),
        dict(pool='cls', norm=False),
    ),
    'HF BEiT': lambda: (
        BeitForImageClassification(
            BeitConfig(**huggingface(use_relative_position_bias=True, use_mean_pooling=True)
                       | dict(use_absolute_position_embeddings=True))
        ),
        dict(rel_pos=dict(kind='bias')),
    ),
    'Meta Hiera': lambda: (
        hiera.Hiera(
            input_size=(64, 64), embed_dim=8, num_heads=1, stages=(1, 2, 1, 1), num_classes=5
        ),
        dict(type='lightvit_dense.Hiera'),
    ),
    'timm Hiera': lambda: (
        TimmHiera(img_size=(64, 64), embed_dim=8, num_heads=1, stages=(1, 2, 1, 1), num_classes=5),
        dict(type='lightvit_dense.Hiera'),
    ),
    'HF Hiera': lambda: (
        HieraForImageClassification(
            HieraConfig(
                embed_dim=8, image_size=[64, 64], depths=[1, 2, 1, 1], num_heads=[1, 2, 4, 8],
                layer_norm_eps=1e-6, num_labels=5,
            )
        ),
        dict(type='lightvit_dense.Hiera'),
    ),
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize('kind', list(FOREIGN))
def test_foreign_classifiers_give_their_scores(kind):
    theirs, options = FOREIGN[kind]()
    randomise(theirs)
    model = randomise(classifier(**options), 1)
    report = load_classifier(model, theirs.state_dict(), complete=True, verbose=False)
    assert set(report.matched) == set(model.state_dict())
    assert not set(report.dropped) & {'head.weight', 'classifier.weight', 'head.fc.weight'}
    side = 64 if 'Hiera' in kind else 32
    image = torch.randn(2, 3, side, side)
    expected = theirs(image)
    expected = getattr(expected, 'logits', expected)
    if kind == 'Meta Hiera':  # its head returns probabilities in evaluation
        expected = expected.log() - expected.log().mean(-1, keepdim=True)
        found = model(image)
        found = found - found.mean(-1, keepdim=True)
    else:
        found = model(image)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('biases', ['q and v', 'qkv'])
def test_the_authors_fine_tuned_files(tmp_path, biases):
    """mae-lite: relative positions, mean of the patches, q_bias and v_bias or a plain qkv bias."""
    theirs = randomise(Beit(**timm_vit(use_rel_pos_bias=True)))
    state = dict(theirs.state_dict())
    index = {f'blocks.{i}.attn.relative_position_index': torch.zeros(17, 17) for i in range(2)}
    if biases == 'qkv':
        for i in range(2):
            parts = [state.pop(f'blocks.{i}.attn.{kind}_bias') for kind in 'qv']
            key = torch.randn(16)
            state[f'blocks.{i}.attn.qkv.bias'] = torch.cat([parts[0], key, parts[1]])
    torch.save(mae_lite(state | index), tmp_path / 'last.pth.tar')
    model = classifier(rel_pos=dict(kind='bias'))
    report = load_classifier(model, tmp_path / 'last.pth.tar', complete=True, verbose=False)
    assert report.source == 'mae-lite'
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model.eval()(image), theirs(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_authors_fine_tuned_hiera(tmp_path):
    """mae-lite: Meta's names and Meta's order, first the mean, then the norm."""
    theirs = randomise(FOREIGN['Meta Hiera']()[0])
    for name, parameter in theirs.named_parameters():
        if 'norm' in name and name.endswith('weight'):
            parameter.add_(1)  # so that tokens differ from each other
    torch.save(mae_lite(theirs.state_dict()), tmp_path / 'last.pth.tar')
    model = classifier(type='lightvit_dense.Hiera')
    report = load_classifier(model, tmp_path / 'last.pth.tar', complete=True, verbose=False)
    assert report.source == 'mae-lite'
    assert set(report.matched) == set(model.state_dict())
    image = torch.randn(2, 3, 64, 64)
    tokens = theirs(image, return_intermediates=True)[1][-1].flatten(1, 2)
    scores = [
        theirs.head.projection(order)
        for order in (theirs.norm(tokens.mean(1)), theirs.norm(tokens).mean(1))
    ]
    torch.testing.assert_close(model.eval()(image), scores[0], atol=2e-5, rtol=1e-5)
    assert (scores[0] - scores[1]).abs().max() > 1e-3
    wrong = classifier(type='lightvit_dense.Hiera', norm=False)
    with pytest.raises(CheckpointError, match=r'final_norm=False, model\.head\.norm=True'):
        load_classifier(wrong, tmp_path / 'last.pth.tar')


@torch.no_grad()
def test_our_own_hiera_may_have_its_norm_before_the_pooling():
    source = randomise(classifier(type='lightvit_dense.Hiera', norm=False))
    target = randomise(classifier(type='lightvit_dense.Hiera', norm=False), 1)
    load_classifier(target, source.state_dict(), complete=True, verbose=False)
    image = torch.randn(2, 3, 64, 64)
    assert torch.equal(source(image), target(image))


def test_our_own_file_comes_back_whole_at_another_size(tmp_path):
    source = randomise(classifier())
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'epoch_1.pth')
    target = randomise(classifier(img_size=48), 1).eval()
    report = load_classifier(target, tmp_path / 'epoch_1.pth', complete=True, verbose=False)
    assert report.resized == {'backbone.pos_embed': ((1, 17, 16), (1, 37, 16))}
    image = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(source(image), target(image), atol=1e-5, rtol=1e-5)


def test_a_batch_norm_and_a_distillation_head_come_along():
    teacher = dict(type='lightvit_dense.ImageClassifier', backbone=dict(
        type='lightvit_dense.VisionTransformer', arch=ARCH, img_size=32, patch_size=8,
    ), head=dict(num_classes=5))  # fmt: skip
    build = [classifier(distiller=dict(type='lightvit_dense.LogitDistiller', teacher=teacher)) for
             _ in range(2)]  # fmt: skip
    for seed, model in enumerate(build):
        randomise(model, seed)
    report = load_classifier(build[1], build[0].state_dict(), complete=True, verbose=False)
    assert 'distiller.head_dist.weight' in report.matched
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(build[0](image), build[1](image))


def test_another_number_of_classes_drops_the_linear_layer_and_says_so():
    source, target = randomise(classifier(5)), randomise(classifier(7), 1)
    before = target.head.fc.weight.clone()
    report = load_classifier(target, source.state_dict())
    assert 'head.fc of 5 classes was dropped: the model has 7 classes' in str(report)
    assert report.missing == ['head.fc.weight', 'head.fc.bias']
    assert torch.equal(target.head.fc.weight, before)
    assert torch.equal(target.head.fc_norm.weight, source.head.fc_norm.weight)
    with pytest.raises(CheckpointError, match='is not the whole classifier'):
        load_classifier(target, source.state_dict(), complete=True)


def test_a_pre_trained_backbone_is_no_classifier():
    source, target = randomise(classifier(final_norm=True)), randomise(classifier(), 1)
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
        ('timm, mean', dict(pool='cls', norm=False), r'final_norm=False, model\.head\.norm=True'),
        ('HF ViT', dict(norm=False), r"model\.head\.pool='cls'"),
        ('Meta Hiera', dict(type='lightvit_dense.Hiera', norm=False), r'head\.norm=True'),
        ('timm, mean', dict(pool='cls', final_norm=False), r"model\.head\.pool='mean'"),
    ],
)
def test_a_head_that_would_read_other_features_is_refused(theirs, ours, message):
    source, _ = FOREIGN[theirs]()
    target = randomise(classifier(**ours), 1)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_classifier(target, source.state_dict())
    assert all(torch.equal(before[k], v) for k, v in target.state_dict().items())
    load_classifier(classifier(6, **ours), source.state_dict(), verbose=False)


def test_deits_second_head_and_token_have_no_place():
    theirs = randomise(VisionTransformerDistilled(**timm_vit()))
    model = classifier(pool='cls', norm=False)
    report = load_classifier(model, theirs.state_dict(), verbose=False)
    text = str(report)
    assert 'the head of the distillation token was dropped' in text
    assert 'the model lacks dist_token: its outputs differ' in text
    with pytest.raises(CheckpointError, match='is not the whole classifier'):
        load_classifier(model, theirs.state_dict(), complete=True)


def test_dinov2s_two_tokens_are_refused():
    theirs = Dinov2ForImageClassification(Dinov2Config(**huggingface(mlp_ratio=4)))
    with pytest.raises(CheckpointError, match=r'shape \(5, 32\), the model needs \(5, 16\)'):
        load_classifier(classifier(pool='cls', norm=False), theirs.state_dict())


def test_initializer(tmp_path):
    source = randomise(classifier(5))
    torch.save(mae_lite({
        **source.backbone.state_dict(),
        **{n.replace('fc.', 'head.') if n.startswith('fc.') else n: t
           for n, t in source.head.state_dict().items()},
    }), tmp_path / 'a.pth')  # fmt: skip
    cfg = dict(type='lightvit_dense.PretrainedClassifier', checkpoint=str(tmp_path / 'a.pth'))
    again = dict(type='mmengine.TruncNormal', layer='Linear', std=0.02, bias=0.0)
    target = classifier(
        5,
        init_cfg=cfg,
    )
    target.backbone.init_cfg = again
    target.init_weights()
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in target.state_dict().items())
    other = classifier(7, init_cfg=cfg)
    fresh = other.head.fc.weight.clone()
    other.init_weights()
    assert torch.equal(other.head.fc.weight, fresh)
    assert torch.equal(other.backbone.pos_embed, source.backbone.pos_embed)
    refusing = classifier(7, init_cfg=dict(cfg, complete=True))
    with pytest.raises(CheckpointError, match='not the whole classifier'):
        refusing.init_weights()
    two = dict(type='lightvit_dense.PretrainedBackbone', checkpoint='b.pth')
    refusing = classifier(7, init_cfg=cfg)
    refusing.backbone.init_cfg = two
    with pytest.raises(CheckpointError, match=r'b\.pth: .* by model\.init_cfg\.checkpoint'):
        refusing.init_weights()
