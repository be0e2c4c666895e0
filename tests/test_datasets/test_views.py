"""Photometric transforms against torchvision; several views of one image."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from PIL import Image
from torchvision.transforms import functional as TF

from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.datasets.transforms import color
from lightvit_dense.registry import TRANSFORMS


def picture(height: int = 37, width: int = 45, seed: int = 0) -> np.ndarray:
    """Noise of all frequencies, so that colours are neither grey nor all alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (5, 6, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height))).astype(float)
    return (smooth + rng.normal(0, 25, smooth.shape)).clip(0, 255).astype(np.uint8)


NAMES = ('brightness', 'contrast', 'saturation', 'hue')


@pytest.mark.parametrize('sigma', [0.1, 0.5, 1.0, 2.0])
def test_blur_is_torchvisions(sigma: float) -> None:
    image = picture()
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    expected = TF.gaussian_blur(tensor, [23, 23], [sigma, sigma]).permute(1, 2, 0).numpy()
    difference = np.abs(color.GaussianBlur((sigma, sigma)).change(image).astype(int) - expected)
    assert difference.max() <= 1  # fixed-point arithmetic rounds differently
    assert difference.mean() < 0.1


def test_grey_and_solarize_are_torchvisions() -> None:
    image = picture()
    grey = TF.to_grayscale(Image.fromarray(image), num_output_channels=3)
    assert np.array_equal(color.RandomGrayscale(1.0).change(image), np.asarray(grey))
    for threshold in (0, 1, 128, 256):
        expected = TF.solarize(Image.fromarray(image), threshold)
        found = color.Solarize(1.0, threshold).change(image)
        assert np.array_equal(found, np.asarray(expected))


def test_jitter_draws_from_torchvisions_ranges() -> None:
    """Each strength alone: the factors drawn fill the range; together: all orders occur."""
    drawn: dict[str, list[float]] = {name: [] for name in NAMES}
    orders = set()
    with pytest.MonkeyPatch.context() as patch:
        seen: list[str] = []
        for name in NAMES:

            def spy(image: Image.Image, amount: float, name: str = name) -> Image.Image:
                drawn[name].append(amount)
                seen.append(name)
                return image

            patch.setattr(TF, f'adjust_{name}', spy)
        jitter = color.ColorJitter(0.4, 1.5, 0.2, 0.1)
        for _ in range(300):
            seen.clear()
            jitter.change(picture(4, 4))
            orders.add(tuple(seen))
    ranges = dict(brightness=(0.6, 1.4), contrast=(0, 2.5), saturation=(0.8, 1.2), hue=(-0.1, 0.1))
    for name, (low, high) in ranges.items():
        assert low <= min(drawn[name]) < low + 0.05 * (high - low)
        assert high >= max(drawn[name]) > high - 0.05 * (high - low)
    assert len(orders) == 24


@pytest.mark.parametrize('prob', [0.0, 0.3, 1.0])
def test_probability(prob: float) -> None:
    image, solarize = picture(3, 3), color.Solarize(prob, threshold=0)
    with seeded(1):
        changed = [solarize(dict(img=image))['img'] is not image for _ in range(400)]
    assert abs(np.mean(changed) - prob) < 0.08
    assert (np.mean(changed) == prob) or 0 < prob < 1


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('ColorJitter', dict(hue=0.6), 'hue <= 0.5'),
        ('ColorJitter', dict(brightness=-1), 'brightness'),
        ('RandomGrayscale', dict(prob=1.1), 'no probability'),
        ('GaussianBlur', dict(sigma=(2.0, 1.0)), 'ascending'),
        ('Solarize', dict(threshold=300), 'threshold=300'),
        ('MultiView', dict(views=[]), 'empty'),
        ('MultiView', dict(views=[dict(count=0, pipeline=[dict(type='x')])]), 'positive count'),
        ('MultiView', dict(views=[dict(count=1)]), 'pipeline'),
    ],
)
def test_wrong_arguments_are_refused(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(type=f'lightvit_dense.{name}', **arguments))


def test_floats_are_refused() -> None:
    with pytest.raises(ValueError, match='ColorJitter needs uint8'):
        color.ColorJitter(0.4)(dict(img=picture().astype(np.float32)))


def two_sizes() -> list:
    """The pipeline of 2 views of 16 px and 3 of 8 px."""

    def crop(size: int) -> list[dict]:
        strengths = dict(brightness=0.4, contrast=0.4, hue=0.1, prob=0.8)
        return [
            dict(type='lightvit_dense.RandomResizedCrop', size=size),
            dict(type='mmcv.RandomFlip', prob=0.5),
            dict(type='lightvit_dense.ColorJitter', **strengths),
            dict(type='lightvit_dense.GaussianBlur'),
        ]

    views = [dict(count=2, pipeline=crop(16)), dict(count=3, pipeline=crop(8))]
    return [
        TRANSFORMS.build(dict(type='lightvit_dense.MultiView', views=views)),
        TRANSFORMS.build(dict(type='lightvit_dense.PackViews')),
    ]


def packed(seed: int) -> dict:
    results = dict(img=picture(), img_path='a.jpg')
    with seeded(seed):
        for transform in two_sizes():
            results = transform(results)
    return results


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
    from lightvit_dense.models import MultiViewPreprocessor

    mean, std = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
    items = [packed(seed) for seed in (1, 2)]
    batch = MultiViewPreprocessor(mean, std)(collate(items), True)
    shapes = [(2, 3, 16, 16)] * 2 + [(2, 3, 8, 8)] * 3
    assert [tuple(view.shape) for view in batch['inputs']] == shapes
    assert [sample.img_path for sample in batch['data_samples']] == ['a.jpg'] * 2
    for number, view in enumerate(batch['inputs']):
        for item, found in zip(items, view, strict=True):
            for channel in range(3):
                expected = (item['inputs'][number][channel].float() - mean[channel]) / std[channel]
                torch.testing.assert_close(found[channel], expected)


def test_preprocessor_refuses_one_image() -> None:
    from lightvit_dense.models import MultiViewPreprocessor

    with pytest.raises(ValueError, match='list of views'):
        MultiViewPreprocessor([0.0] * 3, [1.0] * 3)(dict(inputs=torch.zeros(2, 3, 8, 8)))
    with pytest.raises(ValueError, match='mean and std'):
        MultiViewPreprocessor([0.0] * 3, [1.0, 0.0, 1.0])
