"""Models loaded by lightvit_dense.load against straight lines, timm and the inferencers."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from PIL import Image
from torchvision.transforms import functional

import lightvit_dense
from lightvit_dense import apis
from lightvit_dense.checkpoints import CheckpointError, save_backbone
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from lightvit_dense.visualization import heat_map, pca_colors
from tests.helpers.models import hiera, vit
from tests.helpers.small_dense import build, classifier_config, picture

MEAN, STD = [120.0, 115.0, 100.0], [58.0] * 3
PREPROCESSOR = dict(type='lightvit_dense.ImagePreprocessor', mean=MEAN, std=STD)
VIT = vit(24, 3, 2, pos_embed='learned')
HIERA = hiera(8, (1, 1, 1, 1), q_pool=2)


def load(path, **options):
    return lightvit_dense.load(path, **{'device': 'cpu', **options})


def close(found, want, tolerance=1e-4):
    torch.testing.assert_close(found, want, rtol=tolerance, atol=tolerance)


def config(kind, **model):
    return Config(dict(default_scope='lightvit_dense', model=dict(type=kind, **model)))


def save(path, model, cfg, **meta):
    """Write a checkpoint as mmengine does."""
    content = dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text, **meta))
    torch.save(content, path)
    return path


def pretrainer(backbone):
    """Return the config of a small pre-trainer, and its model."""
    kind = 'HieraMAE' if 'Hiera' in backbone['type'] else 'MAE'
    options = dict(data_preprocessor=PREPROCESSOR, backbone=backbone)
    options['decoder'] = dict(embed_dim=16, depth=1, num_heads=2)
    cfg = config(f'lightvit_dense.{kind}', **options)
    torch.manual_seed(0)
    return cfg, MODELS.build(cfg.model).eval()


@pytest.fixture(scope='module')
def classified(tmp_path_factory, classifier):
    cfg, network = classifier
    return save(tmp_path_factory.mktemp('cls') / 'a.pth', network, cfg)


@pytest.fixture(scope='module')
def detected(tmp_path_factory, detector):
    cfg, network = detector
    return save(tmp_path_factory.mktemp('det') / 'a.pth', network, cfg)


@pytest.fixture(scope='module')
def mae(tmp_path_factory):
    cfg, model = pretrainer(VIT)
    return load(save(tmp_path_factory.mktemp('vit') / 'a.pth', model, cfg)), model.backbone


def normalised(pixels, size, share=1.0):
    """Resize, cut and normalise a picture in one straight line with torchvision."""
    bicubic = functional.InterpolationMode.BICUBIC
    image = functional.resize(Image.fromarray(pixels), int(size / share), bicubic)
    image = functional.center_crop(image, size)
    return torch.tensor((np.asarray(image) - MEAN) / STD).permute(2, 0, 1)[None].float()


@torch.no_grad()
def test_a_classifier_from_its_checkpoint(classified, classifier):
    cfg, network = classifier
    model, image = load(classified), picture(50, 70)
    names = ('cat', 'dog', 'newt')
    assert (model.task, model.names, model.image_size) == ('classification', names, (32, 32))
    want = network(normalised(image, 32))
    assert want.abs().max() > 0.01
    close(model.logits(image), want)
    scores = apis.ClassificationInferencer(cfg, classified, device='cpu')([image])[0].scores
    close(model.logits(image).softmax(-1)[0], torch.from_numpy(scores), 1e-5)
    close(load(classified, image_size=48).logits(image), network(normalised(image, 48)))
    with pytest.raises(UserError, match=r'image_size=30x30: .* multiples of 8'):
        load(classified, image_size=30)


def test_every_kind_of_input_gives_the_same(classified, tmp_path):
    model, image = load(classified), picture(40, 40)
    Image.fromarray(image).save(tmp_path / 'a.png')
    tensor = torch.tensor(image).permute(2, 0, 1)
    want = model.logits(image)
    for given in (
        tmp_path / 'a.png', str(tmp_path), [image], Image.fromarray(image), image[None],
        tensor, tensor[None], (x for x in [Image.fromarray(image)]),
    ):  # fmt: skip
        assert torch.equal(model.logits(given), want)
    batch = [picture(40, 40, seed) for seed in range(5)]
    whole = model.logits(batch)
    close(whole, model.logits(batch, batch_size=2), 1e-5)
    assert whole.shape == (5, 3)


@pytest.mark.parametrize(
    ('given', 'match'),
    [
        ([], 'no picture was given'),
        ('nowhere.png', 'nowhere.png: does not exist'),
        (np.zeros((8, 8, 3)), 'array of float64'),
        (torch.zeros(2, 3, 30, 32), '30x32 pixels: the sides must be multiples of 8'),
        (torch.zeros(2, 4, 32, 32), r'float tensor \[2, 4, 32, 32\]'),
        (torch.zeros(3, 8, 8, dtype=torch.int64), r'tensor torch.int64 \[3, 8, 8\]'),
        (7, 'a int is no picture'),
    ],
)
def test_bad_inputs(classified, given, match):
    model = load(classified)
    with pytest.raises(UserError, match=match):
        model.logits(given)


@torch.no_grad()
def test_features_of_a_pre_trained_vit(mae):
    model, backbone = mae
    images, pixels = torch.randn(2, 3, 32, 32), picture(50, 70)
    (tokens,) = backbone(images)
    inner = backbone.blocks[0](backbone.embed(images)[0])[0]
    close(model.features(images), tokens)
    close(model.features(images, pool='mean'), tokens[:, 1:].mean(1))
    close(model.features(images, pool='cls'), tokens[:, 0])
    by_layer = model.features(images, layers=[0, 1])
    assert list(by_layer) == [0, 1]
    close(by_layer[1], inner)
    close(model.features(images, layers=1), inner)
    places = model.features(images, layers=1, pool='map')
    close(places[1, :, 2, 3], inner[1, 1 + 2 * 4 + 3])
    close(model.features(pixels), model.features(normalised(pixels, 32, 224 / 256)))
    for asked, match in (
        (dict(layers=4), r'layers=4: the backbone has 3 layers; give numbers from 0 to 3'),
        (dict(layers=[]), 'layers='),
        (dict(pool='means'), "Did you mean 'mean'"),
        (dict(batch_size=0), 'batch_size=0'),
    ):
        with pytest.raises(UserError, match=match):
            model.features(images, **asked)


@torch.no_grad()
def test_attention_is_the_softmax_of_queries_and_keys(mae):
    model, backbone = mae
    images, block = torch.randn(2, 3, 32, 32), backbone.blocks[0]
    q, k, _ = block.attn.qkv(block.norm1(backbone.embed(images)[0])).chunk(3, -1)
    scores = torch.einsum('bnhd,bmhd->bhnm', *(x.unflatten(-1, (2, 12)) for x in (q, k)))
    want = (scores / 12**0.5).softmax(-1)
    close(model.attention(images, layers=1), want)
    patches = want[:, :, 1:, 1:]
    found = model.attention(images, layers=1, class_token=False)
    close(found, patches / patches.sum(-1, True))
    assert sorted(model.attention(images, layers=(1, 3))) == [1, 3]
    assert torch.equal(model.attention(images), model.attention(images, layers=3))


@torch.no_grad()
def test_features_of_hiera_are_in_raster_order(tmp_path):
    cfg, network = pretrainer(HIERA)
    model = load(save(tmp_path / 'h.pth', network, cfg))
    images = torch.randn(1, 3, 64, 96)
    maps = MODELS.build(HIERA | dict(out_type='featmap', out_indices=(0, 1, 2, 3))).eval()
    maps.load_state_dict(network.backbone.state_dict())
    wanted = maps(images)  # ends of stages: layers 1 to 4, the last after the norm
    for layer in (1, 2, 3):
        close(model.features(images, layers=layer, pool='map'), wanted[layer - 1])
    close(model.features(images, pool='map'), wanted[3])
    close(model.features(images), wanted[3].flatten(2).transpose(1, 2))
    close(model.features(images, pool='mean'), wanted[3].mean((2, 3)))
    maps = model.attention(images, layers=[1, 4])
    assert [tuple(x.shape) for x in maps.values()] == [(1, 1, 6 * 64, 64), (1, 8, 24, 24)]
    assert all(torch.allclose(x.sum(-1), torch.ones(())) for x in maps.values())
    with pytest.raises(UserError, match='no class token'):
        model.features(images, pool='cls')
    with pytest.raises(UserError, match='needs a plain vision transformer'):
        model.token_picture(picture(64, 96))


def test_a_detector(detected, detector):
    cfg, network = detector
    model, image = load(detected), picture(48, 64)
    want = apis.DetectionInferencer(cfg, model=network, score_thr=0.0)([image])[0]
    found = model.boxes(image, score_thr=0.0)
    assert len(want) > 0
    np.testing.assert_array_equal(found.boxes, want.boxes)
    np.testing.assert_array_equal(model.masks(image, score_thr=0.0).masks, want.masks)
    assert found.names == want.names
    assert isinstance(model.boxes([image, image]), list)
    assert model.features(image, pool='map').shape == (1, 32, 8, 8)
    windows, queries, keys = model.backbone.attention_shape(1)
    maps = model.attention(image, layers=[1])[1]
    assert maps.shape[2:] == (windows * queries, keys)
    close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    inferencer = next(iter(model._inferencers.values()))
    limit = float(np.median(found.scores))
    assert 0 < len(model.boxes(image, score_thr=limit)) < len(found)
    assert list(model._inferencers.values()) == [inferencer]  # a threshold makes no new one
    with pytest.raises(UserError, match=r'score_thr must lie in 0\.\.1, got 2'):
        model.boxes(image, score_thr=2)
    with pytest.raises(UserError, match=r"is for detection, which gives no tracks.*'ostrack256_"):
        model.track([image], (1, 1, 9, 9))
    with pytest.raises(UserError, match='which gives no class scores'):
        model.logits(image)


@torch.no_grad()
def test_a_backbone_of_any_checkpoint(detected, detector):
    model, images = load(detected, task='features'), torch.randn(1, 3, 64, 64)
    close(model.features(images, pool='map'), detector[1].backbone(images)[-1])
    assert (model.task, model.network) == ('features', None)
    with pytest.raises(UserError, match=r"is a backbone alone, which gives no boxes.*'maskrcnn_"):
        model.boxes(picture(9, 9))


def test_a_segmentor(tmp_path, segmentor):
    cfg, network = segmentor
    model, image = load(save(tmp_path / 'a.pth', network, cfg)), picture(48, 64)
    want = apis.SegmentationInferencer(cfg, model=network)([image])[0].label_map
    assert len(np.unique(want)) > 1
    np.testing.assert_array_equal(model.masks(image).label_map, want)
    with pytest.raises(UserError, match='is for segmentation, which gives no boxes'):
        model.boxes(image)


def test_a_tracker(tmp_path):
    from tracking.runtime import Tracker

    arch = dict(embed_dim=16, depth=2, num_heads=2)
    backbone = dict(type='tracking.JointVisionTransformer', arch=arch, patch_size=8)
    head = dict(type='tracking.CenterHead', channels=8)
    options = dict(backbone=backbone, head=head, template_size=32, search_size=64)
    cfg = config('tracking.OneStreamTracker', **options)
    network = build(cfg)
    path = save(tmp_path / 'a.pth', network, cfg)
    model, box = load(path), (10, 20, 30, 25)
    frames = [picture(60, 80, seed) for seed in range(3)]
    straight = Tracker(network)
    straight.init(frames[0], box)
    want = [box, *(straight.update(frame).box for frame in frames[1:])]
    found = list(model.track([Image.fromarray(frame) for frame in frames], box))
    np.testing.assert_allclose([result.box for result in found], want)
    with pytest.raises(UserError, match=r"does not take single images.*task='features'"):
        model.features(frames[0])
    alone = load(path, task='features')
    assert alone.backbone.arch['num_heads'] == 2
    assert alone.features(frames[0], pool='mean').shape == (1, 16)


@torch.no_grad()
def test_an_exported_backbone(tmp_path):
    cfg, network = pretrainer(VIT)
    images = torch.randn(1, 3, 32, 32)
    (want,) = network.backbone(images)
    path = tmp_path / 'backbone.safetensors'
    metadata = save_backbone(network.backbone, path, dict(config=cfg.pretty_text))
    model = load(path)
    close(model.features(images), want)
    np.testing.assert_allclose(model._reader.mean.flatten(), MEAN)
    # A run's folder has both; the export is the better network of a pre-trainer.
    save(tmp_path / 'iter_3.pth', network, cfg)
    assert load(tmp_path).path == path
    # Without its metadata the file's own header tells the heads.
    metadata.unlink()
    close(load(path).features(images), want)
    with pytest.raises(CheckpointError, match='3 heads are asked for, but the file'):
        load(path, heads=3)


def test_a_shipped_name_with_weights(tmp_path, monkeypatch):
    monkeypatch.setenv('LIGHTVIT_CHECKPOINTS', str(tmp_path))
    cfg = apis.load_config(Path(__file__).parents[2] / 'configs/pretrain/mae_vit-tiny.py')
    backbone = MODELS.build(cfg.model.backbone).eval()
    save_backbone(backbone, tmp_path / 'mae_vit-tiny.safetensors', dict(note='no config')).unlink()
    model = load('mae_vit-tiny')
    assert model.backbone.arch['num_heads'] == 12
    assert model.features(picture(30, 40), pool='mean').shape == (1, 192)


def timm_vit(heads):
    torch.manual_seed(0)
    sizes = dict(img_size=32, patch_size=8, embed_dim=192, depth=1, num_classes=5, num_heads=heads)
    return timm.models.vision_transformer.VisionTransformer(**sizes).eval()


@torch.no_grad()
def test_a_classifier_of_timm(tmp_path):
    network, images, path = timm_vit(3), torch.randn(2, 3, 32, 32), tmp_path / 'deit.pth'
    network.pos_embed.normal_()
    network.head.weight.normal_()
    torch.save(dict(model=network.state_dict()), path)
    with pytest.raises(UserError, match=r'do not tell the heads.*heads=N'):
        load(path)
    with pytest.raises(UserError, match=r"carries no config.*config='configs/"):
        load(path, task='detection', heads=3)
    model = load(path, heads=3)
    close(model.logits(images), network(images))
    close(model.features(images), network.forward_features(images))
    close(model._reader.mean.flatten(), torch.tensor([123.675, 116.28, 103.53]))
    told = '{"image_mean": [0.5, 0.5, 0.4], "image_std": [1, 1, 1]}'
    (tmp_path / 'preprocessor_config.json').write_text(told)
    close(load(path, heads=3)._reader.mean.flatten(), torch.tensor([127.5, 127.5, 102.0]))


@pytest.mark.parametrize(
    ('prefix', 'extra', 'heads'),
    [('module.model.', [], 12), ('base_encoder.', [], 12), ('backbone.', ['head.mlp.0.weight'], 3)],
)
def test_heads_by_where_a_file_comes_from(tmp_path, prefix, extra, heads):
    state = {prefix + name: x for name, x in timm_vit(3).state_dict().items()}
    state = {name: x for name, x in state.items() if '.head.' not in name}
    state |= {name: torch.zeros(2, 2) for name in extra}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    assert load(tmp_path / 'a.pth', task='features').backbone.arch['num_heads'] == heads


@torch.no_grad()
def test_a_network_of_several_has_the_heads_and_the_notes_of_its_file(tmp_path):
    """mae-lite's, with an averaged copy, a 13th block and BEiT's query and value biases."""
    own = dict(timm_vit(12).state_dict())
    averaged = {name: x + 0.01 for name, x in own.items()}
    last = {
        name.replace('blocks.0', 'blocks.1'): x
        for name, x in own.items()
        if name.startswith(('blocks.0.norm1', 'blocks.0.attn.qkv'))
    }
    query, _, value = own.pop('blocks.0.attn.qkv.bias').chunk(3)
    own |= {'blocks.0.attn.q_bias': query, 'blocks.0.attn.v_bias': value} | last
    state = {f'module.model.{name}': x for name, x in own.items()}
    state |= {f'module.ema_model.module.{name}': x for name, x in averaged.items()}
    path = tmp_path / 'last.pth.tar'
    torch.save(dict(model=state), path)
    assert load(path, task='features').notes == [
        'q_bias and v_bias of 1 blocks became qkv.bias',
        'block 2 has queries and keys only (decoupled distillation) and was left out',
    ]
    model = load(path, key='ema_model')
    network, images = timm_vit(12), torch.randn(2, 3, 32, 32)
    network.load_state_dict(averaged)
    close(model.logits(images), network(images))
    assert model.notes == []


def test_a_config_tells_what_was_done_to_values(tmp_path):
    torch.save(timm_vit(12).state_dict(), tmp_path / 'a.pth')
    resized = 'pos_embed (1, 17, 192) -> (1, 37, 192)'
    backbone = vit(192, 1, 12, pos_embed='learned', img_size=48)
    cfg = config('lightvit_dense.MAE', backbone=backbone)
    model = load(tmp_path / 'a.pth', config=cfg, task='features')
    assert model.notes[-1] == f'resized {resized}'
    options = dict(backbone=backbone, head=dict(num_classes=5, pool='cls', norm=False))
    options['data_preprocessor'] = PREPROCESSOR
    cfg = config('lightvit_dense.ImageClassifier', **options)
    assert load(tmp_path / 'a.pth', config=cfg).notes == [f'resized backbone.{resized}']


@torch.no_grad()
@pytest.mark.parametrize('shared', [False, True])
def test_relative_positions_alone(tmp_path, shared):
    tables = dict(use_shared_rel_pos_bias=True) if shared else dict(use_rel_pos_bias=True)
    sizes = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=4, num_classes=0)
    network = timm.models.beit.Beit(**sizes, **tables, use_abs_pos_emb=False).eval()
    for parameter in network.parameters():
        parameter.normal_(std=0.3)
    torch.save(network.state_dict(), tmp_path / 'a.pth')
    model, images = load(tmp_path / 'a.pth', task='features'), torch.randn(2, 3, 32, 32)
    close(model.features(images), network.forward_features(images))
    assert 'the file has no absolute positions: pos_embed is zero' in model.notes
    oblong = timm.models.beit.Beit(**sizes | dict(img_size=(16, 24)), **tables)
    torch.save(oblong.state_dict() | {'pos_embed': torch.zeros(1, 7, 24)}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'no square table of positions.*config=') as caught:
        load(tmp_path / 'a.pth', task='features')
    assert '--' not in str(caught.value)


def test_a_config_of_ones_own_replaces_the_recorded_one(classified, classifier, tmp_path):
    cfg, network = classifier
    path = save(tmp_path / 'a.pth', network, Config(dict(model=dict(type='os.system'))))
    with pytest.raises(UserError, match=r'os.system.*config='):
        load(path)
    expected = load(classified).logits(picture(9, 9))
    assert torch.equal(load(path, config=cfg).logits(picture(9, 9)), expected)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(task='detect'), "Did you mean 'detection'"),
        (dict(task='segmentation'), r'is for classification, not for segmentation.*upernet'),
        (dict(device='warp'), "device 'warp' cannot be used"),
        (dict(heads=3), 'heads=3: for files without a config'),
        (dict(key='teacher'), "key='teacher': for files without a config"),
    ],
)
def test_options_that_do_not_fit(classified, options, match):
    with pytest.raises(UserError, match=match):
        load(classified, **options)


def test_convolutional_networks_have_no_tokens(tmp_path):
    cfg = classifier_config()
    cfg.model.backbone = dict(type='lightvit_dense.TimmBackbone', name='test_efficientnet')
    network, pixels = build(cfg).eval(), picture(32, 32)
    model = load(save(tmp_path / 'cnn.pth', network, cfg))
    close(model.logits(pixels), network(normalised(pixels, 32)))
    with pytest.raises(UserError, match=r'convolutional network.*logits\(\)'):
        model.features(pixels)
    cfg = Config(dict(model=dict(type='lightvit_dense.SEED', backbone=cfg.model.backbone)))
    message = r'lightvit_dense\.TimmBackbone has no tokens .*build_model'
    with pytest.raises(UserError, match=message):
        load(save(tmp_path / 'seed.pth', torch.nn.Linear(1, 1), cfg))


@pytest.mark.parametrize('cls_token', [True, False])
def test_a_picture_of_tokens_shows_image_components_and_heads(tmp_path, cls_token):
    torch.manual_seed(0)
    backbone = MODELS.build(dict(VIT, cls_token=cls_token))
    save_backbone(backbone, tmp_path / 'vit.safetensors', {})
    model = lightvit_dense.load(tmp_path / 'vit.safetensors', image_size=64)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = model.token_picture(image)
    assert found.shape == (64, 4 * 68 - 4, 3)  # with two heads
    parts = [found[:, 68 * i : 68 * i + 64] for i in range(4)]
    normalised = model._reader(image, 1)
    seen = next(normalised)[0] * model._reader.std + model._reader.mean
    np.testing.assert_allclose(parts[0].transpose(2, 0, 1), seen, atol=0.51)
    features = model.features(image, pool='map')[0]
    np.testing.assert_array_equal(parts[1][::8, ::8], pca_colors(features))
    attention = model.attention(image)[0]
    rows = attention[:, 0, 1:] if cls_token else attention.mean(1)
    for part, row in zip(parts[2:], rows, strict=True):
        np.testing.assert_array_equal(part[::8, ::8], heat_map(row.reshape(8, 8)))
    with pytest.raises(UserError, match='draws one image, 2 were given'):
        model.token_picture([image, image])
