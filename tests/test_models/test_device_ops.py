"""Operations on the device against the same transforms on the CPU, with the same draws."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from torch import Tensor

from lightvit_dense.datasets.collate import collate_deferred
from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.datasets.transforms import color as transforms
from lightvit_dense.models.preprocessors.deferred import make_views
from lightvit_dense.models.preprocessors.deviceops import DEVICE_OPS
from lightvit_dense.registry import TRANSFORMS
from tests.helpers.fake_cuda import fake_cuda
from tests.helpers.photos import photo
from tests.helpers.shipped_configs import ROOT, load

NAMES = ('astronaut', 'cat', 'china', 'coffee', 'flower')
ENHANCED = ((0.1,), (0.7,), (1.0,), (1.9,))
SHIFTS = ((-0.45,), (0.0,), (0.123,), (0.3,))
LEVELS = {
    # timm's functions, with levels of theirs.
    **dict.fromkeys(('brightness', 'contrast', 'color', 'sharpness'), ENHANCED),
    **dict.fromkeys(('auto_contrast', 'equalize', 'invert'), ((),)),
    **dict(posterize=((0,), (1,), (4,)), solarize=((0,), (26,), (128,), (256,))),
    **dict(solarize_add=((0,), (55,), (110,)), rotate=((-30.0,), (0.0,), (7.3,), (28.1,))),
    **dict.fromkeys(('shear_x', 'shear_y', 'translate_x_rel', 'translate_y_rel'), SHIFTS),
}
PIPELINES = {
    'jitter': [('ColorJitter', dict(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1))],
    'hue alone': [('ColorJitter', dict(hue=0.5, prob=0.8))],
    'grey': [('RandomGrayscale', dict(prob=0.5))],
    'blur': [('GaussianBlur', dict(prob=0.7))],
    'solarize': [('Solarize', dict(prob=0.5, threshold=100))],
    'RandAugment': [('RandAugment', dict(policy='rand-m9-n3-mstd0.5-inc1'))],
    'bilinear': [('RandAugment', dict(policy='rand-m10-p0.9', interpolation='bilinear'))],
}
PIPELINES['all'] = [step for name in PIPELINES for step in PIPELINES[name]]


def batch(images: list[np.ndarray]) -> Tensor:
    """[N, 3, H, W], channels last in memory."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def both_ways(pipeline: list[dict], images: list[np.ndarray]) -> list[tuple[Tensor, Tensor]]:
    """Return the views, uint8 [N, 3, H, W], that device and CPU make; the host waits for none."""
    deferred = dict(type='lightvit_dense.DeferredPipeline', transforms=pipeline)
    ways = [Compose([TRANSFORMS.build(step) for step in pipeline]), TRANSFORMS.build(deferred)]
    drawn: list[list[Any]] = [[], []]
    for (seed, image), way in ((pair, way) for pair in enumerate(images) for way in (0, 1)):
        with seeded(seed):
            storage = SimpleNamespace(pixels=lambda key, image=image: image)
            drawn[way].append(ways[way](dict(img_path='x', storage=storage, gt_label=0)))
    for x in drawn[0]:
        views = x['inputs'] if isinstance(x['inputs'], list) else [x['inputs']]
        x['inputs'] = [view.flip(-1) if x.get('flip') else view for view in views]
    expected = zip(*[x['inputs'] for x in drawn[0]], strict=True)
    given = collate_deferred(drawn[1])
    with fake_cuda() as machine:
        make_views(given, torch.device('cuda'))
    machine.check(0, str(pipeline))
    found = make_views(given, torch.device('cpu'))['inputs']
    found = found if isinstance(found, list) else [found]
    return list(zip(found, map(torch.stack, expected), strict=True))


@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('name', LEVELS)
def test_each_operation_of_rand_augment_is_pillows(name: str, interpolation: str) -> None:
    transform = transforms.RandAugment('rand-n1', interpolation=interpolation)
    levels = np.array([float(*level) for level in LEVELS[name] for _ in NAMES])
    images = [photo(name, (97, 80)) for name in NAMES] * len(LEVELS[name])
    op = next(op for op in transform.ops if op.startswith(name))
    parameters = transform.columns(np.full(len(levels), transform.ops.index(op)), levels)
    expected = [
        transform.apply(image, [(op, some)])
        for image, some in zip(images, parameters.tolist(), strict=True)
    ]
    given = batch(images)
    found = DEVICE_OPS[op](given, torch.from_numpy(parameters))
    assert torch.equal(found, batch(expected))
    assert torch.equal(given, batch(images))


@pytest.mark.parametrize('name', PIPELINES)
def test_every_image_of_a_batch_has_the_pixels_of_the_cpu(name: str) -> None:
    """The crop is the whole picture."""
    crop = ('RandomResizedCrop', dict(size=(80, 96), scale=(1, 1), ratio=(1.2, 1.2)))
    steps = [('LoadImage', dict(color='rgb')), crop, *PIPELINES[name], ('RandomFlipFlag', {})]
    pipeline = [dict(type=f'lightvit_dense.{x}', **y) for x, y in (*steps, ('PackImage', {}))]
    ((found, expected),) = both_ways(pipeline, [photo(name, (96, 80)) for name in NAMES] * 4)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    'path',
    [
        *('pretrain/mocov3_vit-tiny', 'pretrain/dino_vit-tiny', 'pretrain/seed_efficientnet-b0'),
        'imagenet/finetune_mae_vit-tiny_300e',
    ],
)
def test_recipes_look_alike_both_ways(path: str) -> None:
    """Resizes differ by a grey level, which equalising and posterising enlarge."""
    pipeline = load(ROOT / f'configs/{path}.py').train_dataloader.dataset.pipeline
    images = [photo(name, (250, 200)) for name in NAMES]
    for found, expected in both_ways(pipeline, images):
        assert (found.float() - expected.float()).abs().mean() < 0.5


def test_hues_of_a_grid_of_colours_are_pillows() -> None:
    image = np.stack(np.meshgrid(*[np.arange(0, 256, 5, np.uint8)] * 3), -1).reshape(52, -1, 3)
    jitter, shifts = transforms.ColorJitter(hue=0.5), (-0.5, -0.1, 0.0, 0.3, 0.5)
    expected = batch([jitter.apply(image, [('hue', (shift,))]) for shift in shifts])
    found = DEVICE_OPS['hue'](batch([image] * 5), torch.tensor(shifts).double()[:, None])
    assert torch.equal(found, expected)


@pytest.mark.parametrize('op', DEVICE_OPS)
def test_the_host_never_waits(op: str) -> None:
    with fake_cuda() as machine:
        images = torch.empty(4, 3, 32, 40, dtype=torch.uint8, device='cuda')
        wide = dict(rotate=5, shear=4, translate=4, blur=9).get(op.split('_')[0], 1)
        given = torch.ones(4, wide, device='cuda', dtype=torch.float64)
        found = DEVICE_OPS[op](images, given)
        assert (found.shape, found.dtype, found.is_cuda) == (images.shape, torch.uint8, True)
    machine.check(0, op)
