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
    HieraConfig,
    HieraForImageClassification,
    HieraForPreTraining,
    HieraModel,
    ViTConfig,
    ViTForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

from lightvit_dense.checkpoints import load_backbone
from lightvit_dense.models.backbones import Hiera, VisionTransformer

ARCH = dict(embed_dim=16, depth=2, num_heads=4)
HIERA = dict(embed_dim=8, stages=(1, 2, 1, 1), num_heads=1)
CLOSE = 1e-5


def randomise(model, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model.eval()


def ours(**kwargs):
    return VisionTransformer(ARCH, **{'img_size': 32, 'patch_size': 8, **kwargs}).eval()


def image(side=32):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def gap(one, other):
    assert one.shape == other.shape
    assert one.abs().max() > 0.1
    return (one - other).abs().max().item()


@torch.no_grad()
def tokens(model, side=32):
    return model.encode(image(side)).tokens


def huggingface(**kwargs):
    common = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, patch_size=8)
    return {**common, 'image_size': 32, 'layer_norm_eps': 1e-6, **kwargs}


@torch.no_grad()
@pytest.mark.parametrize('kind', ['pretrain', 'model', 'classifier'])
@pytest.mark.parametrize('names', ['in memory', 'in the file'])
def test_hugging_face_vit(tmp_path, kind, names):
    config = huggingface(intermediate_size=64)
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
    model = ours()
    report = load_backbone(model, state, strict=True, verbose=False)
    assert report.source == 'Hugging Face ViT'
    assert len(report.matched) == len(model.state_dict())
    inner = theirs if kind == 'model' else theirs.vit
    order = dict(noise=torch.arange(16.0).expand(2, -1)) if kind == 'pretrain' else {}
    assert gap(inner(image(), **order).last_hidden_state, tokens(model)) < CLOSE


@torch.no_grad()
def test_hugging_face_dinov2_folds_its_layer_scale():
    theirs = randomise(Dinov2Model(Dinov2Config(**huggingface(mlp_ratio=4))))
    model = ours()
    report = load_backbone(model, theirs.state_dict(), strict=True, verbose=False)
    assert report.notes == ['4 LayerScales were folded into attn.proj and mlp.fc2']
    assert gap(theirs(image()).last_hidden_state, tokens(model)) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize('package', ['timm', 'transformers'])
def test_beit(package):
    if package == 'timm':
        theirs = Beit(
            img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=4, num_classes=3,
            init_values=0.1,
        )  # fmt: skip
        expected = randomise(theirs).forward_features(image())
        state = theirs.state_dict()
    else:
        config = huggingface(intermediate_size=64, use_absolute_position_embeddings=True)
        theirs = randomise(BeitModel(BeitConfig(**config)))
        expected, state = theirs(image()).last_hidden_state, theirs.state_dict()
    model = ours(final_norm=False)
    report = load_backbone(model, state, strict=True, verbose=False)
    assert {n.split('.')[0] for n in report.dropped} <= {'fc_norm', 'head'}
    assert report.notes[-1] == '4 LayerScales were folded into attn.proj and mlp.fc2'
    assert gap(expected, tokens(model)) < CLOSE


@torch.no_grad()
@pytest.mark.parametrize('registers', [0, 2])
def test_timm_vit(registers):
    theirs = TimmVisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=4, num_classes=3,
        reg_tokens=registers,
    )  # fmt: skip
    model = ours()
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


def meta_hiera(pretrain):
    size = dict(input_size=(64, 64), **{**HIERA, 'q_pool': 2 if pretrain else 3})
    if not pretrain:
        return hiera.Hiera(**size, num_classes=3)
    decoder = dict(decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=1)
    return hiera.MaskedAutoencoderHiera(**size, **decoder)


def hf_hiera(cls, q_pool=3):
    stages, heads = HIERA['stages'], [1, 2, 4, 8]
    decoder = dict(decoder_hidden_size=8, decoder_depth=1, decoder_num_heads=1)
    config = HieraConfig(
        embed_dim=8, image_size=[64, 64], depths=list(stages), num_heads=heads,
        num_query_pool=q_pool, **decoder,
    )  # fmt: skip
    return cls(config)


@torch.no_grad()
@pytest.mark.parametrize(
    ('source', 'build', 'q_pool'),
    [
        ('Hiera (Meta)', lambda: meta_hiera(False), 3),
        ('Hiera MAE', lambda: meta_hiera(True), 2),
        ('Hiera (timm)', lambda: TimmHiera(img_size=64, num_classes=3, **HIERA), 3),
        ('Hugging Face Hiera', lambda: hf_hiera(HieraModel), 3),
        ('Hugging Face Hiera', lambda: hf_hiera(HieraForPreTraining, 2), 2),
        ('Hugging Face Hiera', lambda: hf_hiera(HieraForImageClassification), 3),
    ],
)
def test_hiera(source, build, q_pool):
    theirs = randomise(build())
    model = Hiera(HIERA, img_size=64, q_pool=q_pool).eval()
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
        plain = hf_hiera(HieraModel, 2).eval()
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
    model = ours()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / 'other.pth')
    with pytest.raises(Exception, match=rf'other\.pth: .*{what}') as caught:
        load_backbone(model, tmp_path / 'other.pth')
    assert 'take a checkpoint of one of these' in str(caught.value)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
