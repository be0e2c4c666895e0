"""Photometric transforms against torchvision and timm; several views, and the recipes' ones."""

import hashlib
import random
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from PIL import Image
from timm.data import auto_augment, create_transform
from torchvision.transforms import functional as TF

from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.datasets.transforms import color, loading
from lightvit_dense.models import MultiViewPreprocessor
from lightvit_dense.registry import MODELS, TRANSFORMS
from tests.helpers.photos import photo


def picture(height: int = 37, width: int = 45) -> np.ndarray:
    """Noise of all frequencies, so that colours are neither grey nor all alike."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (5, 6, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height))).astype(float)
    return (smooth + rng.normal(0, 25, smooth.shape)).clip(0, 255).astype(np.uint8)


JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8)
CONFIGS = Path(__file__).parents[2] / 'configs' / 'pretrain'


@pytest.mark.parametrize('sigma', [0.1, 0.5, 1.0, 2.0])
def test_blur_is_torchvisions(sigma: float) -> None:
    image = picture()
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    expected = TF.gaussian_blur(tensor, [23, 23], [sigma, sigma]).permute(1, 2, 0).numpy()
    found = color.GaussianBlur().apply(image, [('blur', (sigma,))])
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1  # fixed-point arithmetic rounds differently
    assert difference.mean() < 0.1


def test_grey_and_solarize_are_torchvisions() -> None:
    image = picture()
    grey = TF.to_grayscale(Image.fromarray(image), num_output_channels=3)
    assert np.array_equal(color.RandomGrayscale(1.0).apply(image, []), np.asarray(grey))
    for threshold in (0, 1, 128, 256):
        expected = TF.solarize(Image.fromarray(image), threshold)
        found = color.Solarize().apply(image, [('solarize', (threshold,))])
        assert np.array_equal(found, np.asarray(expected))


def test_jitter_draws_from_torchvisions_ranges() -> None:
    """The factors drawn fill their ranges, and all orders occur."""
    ranges = dict(brightness=(0.6, 1.4), contrast=(0, 2.5), saturation=(0.8, 1.2), hue=(-0.1, 0.1))
    jitter = color.ColorJitter(0.4, 1.5, 0.2, 0.1)
    chosen, factors = jitter.draw(np.random.default_rng(0).random((300, jitter.slots)))
    drawn = list(zip(np.take(jitter.ops, chosen).ravel(), factors.ravel(), strict=True))
    for name, (low, high) in ranges.items():
        amounts, margin = [value for key, value in drawn if key == name], 0.05 * (high - low)
        assert low <= min(amounts) < low + margin
        assert high - margin < max(amounts) <= high
    names = [name for name, _ in drawn]
    assert len({tuple(names[at : at + 4]) for at in range(0, 1200, 4)}) == 24


@pytest.mark.parametrize('prob', [0.0, 0.3, 1.0])
def test_probability(prob: float) -> None:
    image, solarize = picture(3, 3), color.Solarize(prob, threshold=0)
    with seeded(1):
        changed = [solarize(dict(img=image))['img'] is not image for _ in range(400)]
    assert abs(np.mean(changed) - prob) < 0.08
    assert (np.mean(changed) == prob) or 0 < prob < 1


@pytest.mark.parametrize('policy', ['rand-m9-mstd0.5-inc1', 'rand-m4-p0.8-mmax13', 'rand-tweights'])
def test_rand_augment_is_timms(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations, levels for either side of the coin, shares and strengths; no colour jitter."""
    _, theirs, _ = create_transform(
        32, is_training=True, auto_augment=policy, interpolation='bicubic', separate=True,
        color_jitter=0.3,
    )  # fmt: skip
    ours, (theirs,) = color.RandAugment(policy), theirs.transforms
    assert repr(theirs) == repr(ours.augment)
    magnitudes = np.append(np.linspace(0, 10, 41), [11.9, 13])
    for number, op in enumerate(theirs.ops):
        assert op.kwargs == ours.augment.ops[number].kwargs
        for coin in (0.0, 0.9) if op.level_fn else ():
            monkeypatch.setattr(auto_augment, 'random', Mock(random=lambda coin=coin: coin))
            wanted = [op.level_fn(magnitude, op.hparams)[0] for magnitude in magnitudes]
            found = ours.levels(np.full(43, number), magnitudes if coin < 0.5 else -magnitudes)
            assert found.tolist() == wanted, op
    chosen, parameters = ours.draw(np.random.default_rng(0).random((20000, ours.slots)))
    assert np.mean(chosen >= 0) == pytest.approx(op.prob, abs=0.01)
    weights, count = theirs.choice_weights, len(theirs.ops)
    share = np.full(count, 1 / count) if weights is None else weights
    first = np.bincount(chosen[chosen[:, 0] >= 0, 0], minlength=count)
    np.testing.assert_allclose(first / first.sum(), share, atol=0.01)
    assert (chosen[:, 0] == chosen[:, 1])[chosen.min(1) >= 0].any() == (weights is None)
    turns = np.abs(parameters[chosen == ours.ops.index('rotate_bicubic'), -1]) / 3
    assert turns.mean() == pytest.approx(op.magnitude, abs=0.1)
    assert turns.std() == pytest.approx(op.magnitude_std, abs=0.1)


def test_the_strongest_posterisation_is_black_as_it_was_before_pillow_refused_it() -> None:
    augment, image = color.RandAugment('rand-m10-inc1'), np.full((4, 4, 3), 255, np.uint8)
    for bits, value in ((0, 0), (2, 192)):
        assert (augment.apply(image, [('posterize', (float(bits),))]) == value).all()


@pytest.mark.parametrize(
    ('name', 'settings', 'digest'),
    [
        ('ColorJitter', JITTER, 'ff2e594549ac61bd'),
        ('RandomGrayscale', dict(prob=0.2), '1fd1214e9492ea5f'),
        ('GaussianBlur', dict(prob=0.5), '2ef342955c61ac5b'),
        ('Solarize', dict(prob=0.2), 'ec01ba39d309cb67'),
        ('RandAugment', dict(), '4f80338a4bd7c3fd'),
        ('RandAugment', dict(policy='rand-m9-mstd0.5-tweights'), '964fa124549bb1c0'),
    ],
)
def test_pixels_and_draws_of_a_seed_do_not_change(name, settings, digest) -> None:
    transform, state = getattr(color, name)(**settings), hashlib.sha256()
    with seeded(7):
        for _ in range(60):
            state.update(transform(dict(img=photo('astronaut', (64, 48))))['img'].tobytes())
        state.update(repr((np.random.rand(), random.random())).encode())
    assert state.hexdigest()[:16] == digest


def packed(seed: int) -> dict:
    """Return 2 views of 16 px and 3 of 8 px."""
    changes = [
        dict(type='mmcv.RandomFlip', prob=0.5),
        dict(type='lightvit_dense.ColorJitter', brightness=0.4, contrast=0.4, hue=0.1, prob=0.8),
        dict(type='lightvit_dense.GaussianBlur'),
    ]
    crops = [dict(type='lightvit_dense.RandomResizedCrop', size=size) for size in (16, 8)]
    views = [
        dict(count=n, pipeline=[crop, *changes]) for n, crop in zip((2, 3), crops, strict=True)
    ]
    several = TRANSFORMS.build(dict(type='lightvit_dense.MultiView', views=views))
    with seeded(seed):
        results = several(dict(img=picture(), img_path='a.jpg'))
    return TRANSFORMS.build(dict(type='lightvit_dense.PackViews'))(results)


def test_views_are_many_different_and_repeatable() -> None:
    first, again, other = packed(5), packed(5), packed(6)
    assert [tuple(view.shape) for view in first['inputs']] == [(3, 16, 16)] * 2 + [(3, 8, 8)] * 3
    assert all(view.dtype == torch.uint8 for view in first['inputs'])
    assert first['data_samples'].img_path == 'a.jpg'
    assert all(map(torch.equal, first['inputs'], again['inputs']))
    assert not any(map(torch.equal, first['inputs'], other['inputs']))
    assert not torch.equal(first['inputs'][0], first['inputs'][1])


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
def test_preprocessor_normalises_each_view(collate) -> None:
    mean, std = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
    items = [packed(seed) for seed in (1, 2)]
    batch = MultiViewPreprocessor(mean, std)(collate(items), True)
    assert [sample.img_path for sample in batch['data_samples']] == ['a.jpg'] * 2
    center, scale = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    for number, view in enumerate(batch['inputs']):
        expected = [(item['inputs'][number] - center) / scale for item in items]
        torch.testing.assert_close(view, torch.stack(expected))


def test_other_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match='list of views'):
        MultiViewPreprocessor([0.0] * 3, [1.0] * 3)(dict(inputs=torch.zeros(2, 3, 8, 8)))
    with pytest.raises(ValueError, match='mean and std'):
        MultiViewPreprocessor([0.0] * 3, [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match='ColorJitter needs uint8'):
        color.ColorJitter(0.4)(dict(img=np.zeros((8, 8, 3))))


def load(name: str) -> Config:
    cfg = Config.fromfile(CONFIGS / f'{name}_vit-tiny.py')
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize(('name', 'sizes'), [('mocov3', [224] * 2), ('dino', [224] * 2 + [96] * 8)])
def test_views_have_the_papers_number_size_and_changes(name, sizes, monkeypatch, tmp_path) -> None:
    pipeline = load(name).train_dataloader.dataset.pipeline
    file = str(tmp_path / 'a.jpg')
    assert cv2.imwrite(file, picture(120, 150))
    views = Compose([TRANSFORMS.build(step) for step in pipeline])
    spy = Mock(side_effect=loading.decode)
    monkeypatch.setattr(loading, 'decode', spy)
    with seeded(0):
        batch = default_collate([views(dict(img_path=file)) for _ in range(2)])
    assert spy.call_count == 2  # once an image
    assert [tuple(view.shape) for view in batch['inputs']] == [(2, 3, s, s) for s in sizes]
    # Blur in the first view always, in the second rarely; solarization in the second only.
    probabilities = [
        {step.type.split('.')[-1]: step.get('prob') for step in view.pipeline}
        for view in pipeline[1]['views']
    ]
    assert [p['GaussianBlur'] for p in probabilities][:2] == [1.0, 0.1]
    assert [p.get('Solarize') for p in probabilities][:2] == [None, 0.2]
    assert {(p['ColorJitter'], p['RandomGrayscale']) for p in probabilities} == {(0.8, 0.2)}


@pytest.mark.parametrize(
    ('name', 'per_256', 'batch'),
    [('simmim', 0.5e-4, 2048), ('mocov3', 1.5e-4, 1024), ('dino', 5e-4, 1024)],
)
def test_rates_follow_the_linear_rule_and_decay_the_official_code(name, per_256, batch) -> None:
    cfg = load(name)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == batch
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr == pytest.approx(per_256 * batch / 256)
    for key in ('hidden', 'out_channels'):  # the groups do not depend on the heads' sizes
        for node in (cfg.model, cfg.model.get('head') or {}):
            if key in node:
                node[key] = 8
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).param_groups
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    for key, parameter in model.named_parameters():
        exempt = parameter.ndim == 1 and name != 'mocov3'
        exempt |= name == 'simmim' and key.endswith(('mask_token', 'cls_token'))
        if parameter.requires_grad:
            assert decay[id(parameter)] == (0.0 if exempt else optimizer.weight_decay)
