"""Checkpoints that other packages write themselves: our backbone must compute what they compute."""

import hiera
import pytest
import torch
from safetensors.torch import load_file
from timm.models.beit import Beit
from timm.models.hiera import Hiera as TimmHiera
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from transformers import (
    BeitConfig,
    BeitModel,
    Dinov2Config,
    Dinov2Model,
    HieraForImageClassification,
    HieraForPreTraining,
    HieraModel,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

from lightvit_dense.checkpoints import convert, load_backbone

from .builders import (
    HIERA,
    PLAIN,
    gap,
    huggingface,
    huggingface_hiera,
    image,
    meta_hiera,
    named,
    our_hiera,
    randomise,
    refused,
    save,
    timm_sizes,
    vit,
)  # fmt: skip

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


def test_unknown_names_are_left_alone():
    state = {'layer1.conv.weight': torch.zeros(1)}
    converted = convert(state)
    assert (converted.source, converted.state, converted.dropped) == (None, state, [])
    assert convert({}).state == {}


def test_heads_are_left_to_the_loader():
    converted = convert({**vit().state_dict(), 'head.weight': torch.zeros(3, 8)})
    assert 'head.weight' in converted.state
    assert converted.dropped == []


@torch.no_grad()
def tokens(model, side=32):
    return model.encode(image(side)).tokens


@torch.no_grad()
@pytest.mark.parametrize('kind', ['pretrain', 'model', 'classifier'])
@pytest.mark.parametrize('names', ['in memory', 'in the file'])
def test_hugging_face_vit(tmp_path, kind, names):
    config = huggingface()
    decoder = dict(decoder_hidden_size=8, decoder_num_hidden_layers=1)
    decoder |= dict(decoder_num_attention_heads=1, decoder_intermediate_size=8)
    build = {
        'pretrain': lambda: ViTMAEForPreTraining(ViTMAEConfig(mask_ratio=0.0, **config, **decoder)),
        'model': lambda: ViTModel(ViTConfig(**config)),
        'classifier': lambda: ViTForImageClassification(ViTConfig(**config, num_labels=3)),
    }
    theirs = randomise(build[kind]())
    if names == 'in memory':  # transformers 5
        state = theirs.state_dict()
    else:  # transformers 4, which version 5 still writes
        theirs.save_pretrained(tmp_path)
        state = load_file(tmp_path / 'model.safetensors')
        assert any('attention.attention.query' in name for name in state)
    model = vit(9)
    report = load_backbone(model, state, strict=True, verbose=False)
    assert report.source == 'Hugging Face ViT'
    assert len(report.matched) == len(model.state_dict())
    inner = theirs if kind == 'model' else theirs.vit
    order = dict(noise=torch.arange(16.0).expand(2, -1)) if kind == 'pretrain' else {}
    assert gap(inner(image(), **order).last_hidden_state, tokens(model)) < CLOSE


@torch.no_grad()
def test_hugging_face_dinov2_folds_its_layer_scale():
    theirs = randomise(Dinov2Model(Dinov2Config(**huggingface(mlp_ratio=4))))
    model = vit(9)
    report = load_backbone(model, theirs.state_dict(), strict=True, verbose=False)
    assert report.notes == ['4 LayerScales were folded into attn.proj and mlp.fc2']
    assert gap(theirs(image()).last_hidden_state, tokens(model)) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize('package', ['timm', 'transformers'])
def test_beit(package):
    if package == 'timm':
        theirs = Beit(**timm_sizes(init_values=0.1))
        expected = randomise(theirs).forward_features(image())
        state = theirs.state_dict()
    else:
        config = huggingface(use_absolute_position_embeddings=True)
        theirs = randomise(BeitModel(BeitConfig(**config)))
        expected, state = theirs(image()).last_hidden_state, theirs.state_dict()
    model = vit(9, final_norm=False)
    report = load_backbone(model, state, strict=True, verbose=False)
    assert {n.split('.')[0] for n in report.dropped} <= {'fc_norm', 'head'}
    assert report.notes[-1] == '4 LayerScales were folded into attn.proj and mlp.fc2'
    assert gap(expected, tokens(model)) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize('registers', [0, 2])
def test_timm_vit(registers):
    theirs = TimmVisionTransformer(**timm_sizes(reg_tokens=registers))
    model = vit(9)
    report = load_backbone(model, randomise(theirs).state_dict(), verbose=False)
    assert report.dropped == ['head.weight', 'head.bias']
    assert not report.missing
    if not registers:
        assert gap(theirs.forward_features(image()), tokens(model)) < CLOSE
        return
    # Our ViT has no registers: their rows of positions go, and the report says what it means.
    assert report.unexpected == ['reg_token']
    assert report.resized == {'pos_embed': ((1, 19, 16), (1, 17, 16))}
    assert 'the model lacks reg_token' in report.notes[0]
    positions = theirs.pos_embed
    assert torch.equal(model.pos_embed, torch.cat([positions[:, :1], positions[:, 3:]], dim=1))


@torch.no_grad()
@pytest.mark.parametrize(
    ('source', 'build', 'q_pool'),
    [
        ('Hiera (Meta)', lambda: meta_hiera(), 3),
        ('Hiera MAE', lambda: meta_hiera(pretrain=True), 2),
        ('Hiera (timm)', lambda: TimmHiera(img_size=64, num_classes=3, **HIERA), 3),
        ('Hugging Face Hiera', lambda: huggingface_hiera(HieraModel), 3),
        ('Hugging Face Hiera', lambda: huggingface_hiera(HieraForPreTraining, num_query_pool=2), 2),
        ('Hugging Face Hiera', lambda: huggingface_hiera(HieraForImageClassification), 3),
    ],
)
def test_hiera(source, build, q_pool):
    theirs = randomise(build())
    model = our_hiera(9, q_pool=q_pool)
    report = load_backbone(model, theirs.state_dict(), strict=True, verbose=False)
    assert report.source == source
    assert len(report.matched) == len(model.state_dict())
    if isinstance(theirs, hiera.MaskedAutoencoderHiera):
        keep = torch.ones(2, 4, dtype=torch.bool)
        _, stages = hiera.Hiera.forward(theirs, image(64), keep, return_intermediates=True)
        expected, norm = stages[-1], theirs.encoder_norm
    elif isinstance(theirs, hiera.Hiera):
        _, stages = theirs(image(64), return_intermediates=True)
        expected, norm = stages[-1], theirs.norm
    elif isinstance(theirs, TimmHiera):
        expected, norm = theirs.forward_features(image(64)), theirs.head.norm
    elif isinstance(theirs, HieraForPreTraining):
        # Its own forward hides units; the same weights in a plain model hide none.
        plain = huggingface_hiera(HieraModel, num_query_pool=2).eval()
        plain.load_state_dict(theirs.hiera.state_dict(), strict=False)
        maps = plain(image(64), output_hidden_states=True).reshaped_hidden_states
        assert gap(theirs.encoder_norm(maps[-1]).flatten(1, 2), model(image(64))[-1]) < CLOSE
        return
    else:
        inner = getattr(theirs, 'hiera', theirs)
        expected, norm = inner(image(64)).last_hidden_state, inner.pooler.layernorm
    found = tokens(model, 64)
    assert gap(norm(expected).reshape(found.shape), found) < CLOSE


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
