"""Crops and flips that the device carries out, against the same pipelines in the workers."""

import copy
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.dataset import default_collate

from lightvit_dense.apis.configs import load_config
from lightvit_dense.datasets import DatasetError, SeededIndex, collate_deferred
from lightvit_dense.datasets.collate import SharedBytes
from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.datasets.draws import Draws
from lightvit_dense.datasets.transforms.augment import resize_box
from lightvit_dense.engine.hooks.prefetch import move_batch
from lightvit_dense.engine.hooks.resources import batch_size
from lightvit_dense.models import MultiViewPreprocessor
from lightvit_dense.models.preprocessors import resize
from lightvit_dense.registry import FUNCTIONS, MODELS, TRANSFORMS
from tests.helpers.data_sets import batches, build, write_image
from tests.helpers.fake_cuda import fake_cuda
from tests.helpers.photos import photo

PHOTOS = [
    photo(name, size)
    for name in ('cat', 'coffee', 'astronaut')
    for size in ((340, 256), (260, 390))
]
METHODS = ('bicubic', 'bilinear')
RECIPES = {
    'mae': 'pretrain/mae_vit-tiny',
    'simmim': 'pretrain/simmim_vit-tiny',
    'mocov3': 'pretrain/mocov3_vit-tiny',
    'dino': 'pretrain/dino_vit-tiny',
    'finetuning': 'imagenet/finetune_mae_vit-tiny_300e',
    'transfer': 'transfer/pets_vit-tiny',
}
GEOMETRIC = ('Load', 'RandomResizedCrop', 'RandomFlip', 'MultiView', 'Pack')
FILES = [cv2.imencode('.jpg', image[..., ::-1])[1].tobytes() for image in PHOTOS]


def geometric(pipeline: Any) -> list[dict]:
    """Return a pipeline without what changes colours."""
    kept = [dict(s) for s in pipeline if s['type'].partition('.')[2].startswith(GEOMETRIC)]
    for view in (view for step in kept for view in step.get('views', ())):
        view['pipeline'] = geometric(view['pipeline'])
    return kept


def batch_of(steps: list[dict], raw: bool, collate: str) -> dict:
    pixels = PHOTOS.__getitem__ if raw else lambda key: None
    storage = SimpleNamespace(pixels=pixels, read=FILES.__getitem__)
    pipeline, found = Compose([TRANSFORMS.build(step) for step in steps]), []
    for key in range(len(PHOTOS)):
        with seeded(key + 40):
            found.append(pipeline({'img_path': key, 'storage': storage, 'gt_label': key}))
    if collate == 'default_collate':  # of views alone
        return dict(inputs=default_collate([sample['inputs'] for sample in found]))
    return FUNCTIONS.get(collate)(found)


def both(name: str, raw: bool) -> tuple[Any, dict, dict]:
    """Return a recipe's preprocessor, a batch of the workers' doing, and one of the device's."""
    cfg = load_config(RECIPES[name])
    steps = geometric(cfg.train_dataloader.dataset.pipeline)
    deferred = [dict(type='lightvit_dense.DeferredPipeline', transforms=steps)]
    host = batch_of(steps, raw, cfg.train_dataloader.collate_fn.type)
    device = batch_of(deferred, raw, 'lightvit_dense.collate_deferred')
    return MODELS.build(cfg.model.data_preprocessor), host, device


@pytest.mark.parametrize('raw', [True, False], ids=['pixels', 'jpeg'])
@pytest.mark.parametrize('name', RECIPES)
def test_views_are_those_of_the_workers_within_a_grey_level(name: str, raw: bool) -> None:
    preprocessor, host, device = both(name, raw)
    results = [preprocessor(batch, False)['inputs'] for batch in (host, device)]
    expected, views = (found if isinstance(found, list) else [found] for found in results)
    assert len(views) == dict(mocov3=2, dino=10).get(name, 1)
    for view, wanted in zip(views, expected, strict=True):
        assert view.shape == wanted.shape
        levels = (view - wanted).abs() * preprocessor.std
        # Pillow's order of the two directions, see models.preprocessors.resize
        assert (levels > 1.01).float().mean() < (5e-4 if name == 'dino' else 1e-9)
        assert levels.mean() < 0.25


BOXES = [
    *((0, 0, 256, 340), (10, 20, 224, 224), (5, 7, 100, 130), (40, 60, 31, 200)),
    *((200, 300, 20, 17), (3, 3, 250, 40), (7, 9, 1, 1)),
]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('size', [(224, 224), (48, 64)])
def test_crops_are_resized_as_torch_does(
    size: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in several runs, where the images are too large for one."""
    image = PHOTOS[0]
    stride = 3 * image.shape[1]
    pixels = torch.from_numpy(np.append(image.ravel(), np.zeros(stride + 3 * 64, np.uint8)))
    boxes = [(*box, method) for box in BOXES for method in (0, 1)]
    crops = torch.tensor([(y * stride + 3 * x, stride, h, w, m) for y, x, h, w, m in boxes])
    sides = np.array(BOXES)[:, 2:].repeat(2, 0)
    found = resize.crop_and_resize(pixels, crops, sides, size, dtype)
    for made, (top, left, high, wide, method) in zip(found, boxes, strict=True):
        box = (left, top, left + wide, top + high)
        wanted = resize_box(image, box, size, METHODS[method], 'torch')
        off = np.abs(made.permute(1, 2, 0).numpy().astype(int) - wanted)
        assert (off.max() <= 1, off.mean() < 0.3) == (True, True), (box, METHODS[method])
    monkeypatch.setattr(resize, 'LIMIT', 100_000)
    assert len(resize._runs(sides, size)) > 2
    assert torch.equal(resize.crop_and_resize(pixels, crops, sides, size, dtype), found)


def test_numbers_are_those_of_splitmix() -> None:
    """From the reference code (https://prng.di.unimi.it/splitmix64.c), of this seed."""
    draws = Draws([5, 1234567], 1)
    found = np.append(draws.take(2)[1], draws.take(1)[1])
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert found.tolist() == [(number >> 11) * 2.0**-53 for number in wanted]


def test_a_single_view_of_several_is_a_list() -> None:
    steps = geometric(load_config(RECIPES['mocov3']).train_dataloader.dataset.pipeline)
    steps[1]['views'][1:] = []
    deferred = [dict(type='lightvit_dense.DeferredPipeline', transforms=steps)]
    batch = batch_of(deferred, True, 'lightvit_dense.collate_deferred')
    (view,) = MultiViewPreprocessor([0.0] * 3, [1.0] * 3)(batch)['inputs']
    assert view.shape == (len(PHOTOS), 3, 224, 224)


@pytest.mark.parametrize('name', RECIPES)
def test_draws_of_a_sample_depend_on_no_other(name: str) -> None:
    steps = load_config(RECIPES[name]).train_dataloader.dataset.pipeline
    deferred = TRANSFORMS.build(dict(type='lightvit_dense.DeferredPipeline', transforms=steps))
    seeds, shapes = [*range(7), 2**63 - 1], np.array([[256, 300 + n] for n in range(8)])

    def arrays(*chosen: int) -> list[np.ndarray]:
        views = deferred.draw([seeds[n] for n in chosen], shapes[[*chosen]])
        return [some for view in views for some in (view[2], *sum((s[1:] for s in view[3]), ()))]

    for whole, *alone in zip(arrays(*range(8)), *map(arrays, range(8)), strict=True):
        # B times [count, ...] -> [count * B, ...]
        assert np.array_equal(whole, np.stack(alone, 1).reshape(whole.shape))


def test_workers_use_memory_again_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedBytes, 'pool', [])
    kept, read = SharedBytes(80), SharedBytes(80)
    received, _ = copy.copy(kept), copy.copy(read).bytes  # as the training process gets them
    memory = [some.bytes.data_ptr() for some in (kept, read, SharedBytes(85))]
    assert memory[2] == memory[1] != memory[0]
    del received
    assert SharedBytes(200).bytes.shape == (200,)
    assert len(SharedBytes.pool) == 2  # what was too small is gone


@pytest.mark.parametrize('name', ['mae', 'dino', 'finetuning'])
def test_the_host_waits_for_nothing_and_is_told_what_it_asks(name: str) -> None:
    preprocessor, _, batch = both(name, raw=True)
    assert batch_size(batch) == len(batch['data_samples']) == len(PHOTOS)
    assert [sample.img_path for sample in batch['data_samples']] == list(range(len(PHOTOS)))
    with fake_cuda() as machine:
        preprocessor.to('cuda')
        moved = dict(batch)
        move_batch(moved, preprocessor)
        assert moved['inputs'].is_cuda
        for given in (batch, moved):
            machine.waits.clear()
            made = preprocessor(given, False)['inputs']
            assert all(view.is_cuda for view in made)
            machine.check(0, name)


def test_a_step_of_mae_has_nearly_the_same_loss() -> None:
    cfg = load_config(RECIPES['mae'])
    cfg.model.backbone.arch = dict(embed_dim=48, depth=1, num_heads=3)
    cfg.model.decoder.update(embed_dim=32, depth=1, num_heads=2)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    losses = []
    for batch in both('mae', raw=False)[1:]:
        torch.manual_seed(1)
        data = model.data_preprocessor(batch, True)
        losses.append(model.parse_losses(model(**data, mode='loss'))[0])
        losses[-1].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-3)


def test_batches_depend_on_no_worker_and_bad_images_are_passed_over(tmp_path) -> None:
    for number in range(5):
        write_image(tmp_path / f'{number}.jpg', (40, 56 + number), number)
    load = dict(type='lightvit_dense.LoadRandomResizedCrop', size=24, interpolation='random')
    rest = [dict(type='lightvit_dense.RandomFlipFlag'), dict(type='lightvit_dense.PackImage')]
    step = dict(type='lightvit_dense.DeferredPipeline', transforms=[dict(load, max_bad=1), *rest])
    dataset = build('ImageFiles', tmp_path, pipeline=[step])
    (tmp_path / '3.jpg').write_bytes(b'')
    alone, other = (batches(dataset, n, collate_fn=collate_deferred, count=6) for n in (0, 1))
    for batch, same in zip(alone, other, strict=True):
        assert torch.equal(batch['inputs'][:-500], same['inputs'].bytes[:-500])
        assert same['data_samples'].metas == batch['data_samples'].metas
    assert 'draws' not in build('ImageFiles', tmp_path, pipeline=[load])[SeededIndex(0, 1)]
    step['transforms'] = [load, *rest]
    with pytest.raises(DatasetError, match='zero bytes'):
        build('ImageFiles', tmp_path, pipeline=[step])[3]
