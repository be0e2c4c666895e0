import pickle
import random
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset, default_collate
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader

import lightvit_dense  # noqa: F401
from lightvit_dense.datasets import (
    DatasetError,
    ImageFiles,
    SeededIndex,
    SeededInfiniteSampler,
    SeededSampler,
    determinism,
)

PIPELINE = [
    dict(type='lightvit_dense.LoadImage', max_bad=2, color='rgb'),
    dict(type='lightvit_dense.RandomResizedCrop', size=24, interpolation='random'),
    dict(type='mmcv.RandomFlip', prob=0.5),
    dict(type='lightvit_dense.PackImage'),
]


def write_images(folder, count=7, size=(40, 56)):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(0)
    for number in range(count):
        noise = rng.randint(0, 255, (5, 7, 3), dtype=np.uint8)
        image = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / f'{number:03d}.jpg'), image)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / 'images')


def build(folder, **kwargs):
    kwargs = {'pipeline': PIPELINE, **kwargs}
    return DATASETS.build(dict(type='lightvit_dense.ImageFiles', data_root=str(folder), **kwargs))


def sampler_of(dataset, monkeypatch=None, rank=0, world=1, kind='SeededInfiniteSampler', **kwargs):
    if monkeypatch:
        monkeypatch.setattr(determinism, 'get_dist_info', lambda: (rank, world))
    cfg = dict(type=f'lightvit_dense.{kind}', dataset=dataset, seed=5, **kwargs)
    return DATA_SAMPLERS.build(cfg)


def take(sampler, count):
    iterator = iter(sampler)
    return [next(iterator) for _ in range(count)]


def batches(dataset, workers, steps=4, start=0):
    sampler = sampler_of(dataset)
    sampler.set_progress(start=start)
    loader = DataLoader(
        dataset, 3, sampler=sampler, num_workers=workers, collate_fn=default_collate
    )
    iterator = iter(loader)
    out = []
    for _ in range(steps):
        torch.rand(3)  # a model that draws numbers must not disturb the data
        random.random()
        out.append(next(iterator)['inputs'])
    return torch.stack(out)


def test_items(folder):
    dataset = build(folder)
    item = dataset[SeededIndex(3, 11)]
    assert item['inputs'].dtype == torch.uint8
    assert item['inputs'].shape == (3, 24, 24)
    assert item['inputs'].permute(1, 2, 0).is_contiguous()  # channels last, copied once
    assert item['data_samples'].img_path.endswith('003.jpg')
    assert item['data_samples'].ori_shape == (40, 56)
    assert torch.equal(item['inputs'], dataset[SeededIndex(3, 11)]['inputs'])
    assert not torch.equal(item['inputs'], dataset[SeededIndex(3, 12)]['inputs'])


@pytest.mark.parametrize('start', [0, 3])
def test_bits_do_not_depend_on_workers(folder, start):
    dataset = build(folder)
    alone = batches(dataset, 0, start=start)
    assert torch.equal(alone, batches(dataset, 0, steps=4 + start // 3)[start // 3 :])
    assert torch.equal(alone, batches(dataset, 1, start=start))
    assert torch.equal(alone, batches(dataset, 2, start=start))


def test_ambient_generators_are_left_alone(folder):
    dataset = build(folder)
    draws = []
    for touch in (False, True):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        if touch:
            dataset[SeededIndex(0, 4)]
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]


def test_index_survives_pickle_and_arithmetic():
    index = SeededIndex(7, 2**62 + 1)
    again = pickle.loads(pickle.dumps(index))
    assert (again, again.seed, type(again)) == (7, 2**62 + 1, SeededIndex)
    assert (index - 5, (index - 5).seed) == (2, index.seed)
    assert (index % 4, (index % 4).seed) == (3, index.seed)
    assert (index + 1, (index + 1).seed) == (8, index.seed)


@pytest.mark.parametrize('wrapper', [ConcatDataset, RepeatDataset])
def test_wrappers_keep_the_seed(folder, wrapper):
    dataset = build(folder)
    wrapped = RepeatDataset(dataset, 2) if wrapper is RepeatDataset else wrapper([dataset] * 2)
    expected = dataset[SeededIndex(2, 9)]['inputs']
    for index in (2, 2 + len(dataset)):
        np.random.seed(index)
        assert torch.equal(wrapped[SeededIndex(index, 9)]['inputs'], expected)


@pytest.mark.parametrize('kind', ['SeededSampler', 'SeededInfiniteSampler'])
def test_an_epoch_is_a_permutation_and_differs_from_the_next(kind):
    sampler = sampler_of(range(50), kind=kind)
    first = take(sampler, 50)
    sampler.set_epoch(1)
    following = take(sampler, 100)[50:] if kind == 'SeededInfiniteSampler' else take(sampler, 50)
    assert sorted(first) == sorted(following) == list(range(50))
    assert first != following
    assert first != sorted(first)
    seeds = {index.seed for index in first + following}
    assert len(seeds) == 100


@pytest.mark.parametrize('size', [10, 11])
@pytest.mark.parametrize('kind', ['SeededSampler', 'SeededInfiniteSampler'])
def test_ranks_share_the_data_out(monkeypatch, kind, size):
    alone = take(sampler_of(range(size), kind=kind), 10)
    shares = [take(sampler_of(range(size), monkeypatch, r, 2, kind), 5) for r in range(2)]
    assert not set(shares[0]) & set(shares[1])
    interleaved = [index for pair in zip(*shares, strict=True) for index in pair]
    assert interleaved == alone
    assert [i.seed for i in interleaved] == [i.seed for i in alone]


def test_round_up(monkeypatch):
    def lengths(**kwargs):
        given = range(11), monkeypatch
        samplers = [sampler_of(*given, r, 4, 'SeededSampler', **kwargs) for r in range(4)]
        assert all(len(list(s)) == len(s) for s in samplers)
        return [len(s) for s in samplers]

    assert lengths() == [3, 3, 3, 3]
    assert lengths(round_up=False) == [3, 3, 3, 2]


@pytest.mark.parametrize('start', [0, 1, 9, 10, 11, 25])
@pytest.mark.parametrize('rank', [0, 1])
def test_infinite_progress(monkeypatch, start, rank):
    whole = take(sampler_of(range(10), monkeypatch, rank, 2), 40)
    sampler = sampler_of(range(10), monkeypatch, rank, 2)
    sampler.skip(start)
    later = take(sampler, 15)
    assert later == whole[start : start + 15]
    assert [i.seed for i in later] == [i.seed for i in whole[start : start + 15]]


def test_epoch_progress():
    sampler = sampler_of(range(10), kind='SeededSampler')
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.set_progress(epoch=3, start=4)
    sampler.set_epoch(3)
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole, 'the start holds for one pass only'
    sampler.set_progress(epoch=3, start=4)
    sampler.set_epoch(4)
    assert len(list(sampler)) == 10
    with pytest.raises(ValueError, match='start=11'):
        sampler.set_progress(start=11)


def test_without_shuffle():
    sampler = SeededInfiniteSampler(range(3), shuffle=False, seed=0)
    assert take(sampler, 7) == [0, 1, 2, 0, 1, 2, 0]
    assert list(SeededSampler(range(3), shuffle=False, seed=0)) == [0, 1, 2]
    with pytest.raises(ValueError, match='empty'):
        SeededSampler([], seed=0)


def test_image_files_lists_sorted_and_nested(tmp_path):
    write_images(tmp_path / 'b' / 'n02', 2)
    write_images(tmp_path / 'a', 2)
    (tmp_path / 'a' / 'notes.txt').write_text('no image')
    (tmp_path / 'a' / '.hidden.jpg').write_bytes(b'x')
    (tmp_path / 'a' / 'UPPER.JPG').write_bytes((tmp_path / 'a' / '000.jpg').read_bytes())
    dataset = ImageFiles(str(tmp_path), pipeline=[])
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    expected = ['a/000.jpg', 'a/001.jpg', 'a/UPPER.JPG', 'b/n02/000.jpg', 'b/n02/001.jpg']
    assert paths == [f'{tmp_path}/{name}' for name in expected]
    assert len(ImageFiles(str(tmp_path), 'a', recursive=False)) == 3
    assert len(ImageFiles(str(tmp_path), indices=2)) == 2


def test_image_files_without_images(tmp_path):
    with pytest.raises(DatasetError, match=r'no image with an ending of \.jpg'):
        ImageFiles(str(tmp_path))
    with pytest.raises(DatasetError, match='nowhere: this image folder does not exist'):
        ImageFiles(str(tmp_path), 'nowhere')


def repeated(size, rank=0, world=1, monkeypatch=None, **kwargs):
    kind = 'RepeatedAugmentSampler'
    return sampler_of(range(size), monkeypatch, rank, world, kind, **kwargs)


def drawn(sampler):
    return [(int(index), index.seed) for index in sampler]


def test_repeats_with_different_augmentation():
    found = drawn(repeated(30, repeats=3))
    assert len(found) == 30  # an epoch keeps its length
    indices = [index for index, _ in found]
    assert all(indices[i] == indices[i + 1] == indices[i + 2] for i in range(0, 30, 3))
    assert sorted(Counter(indices).values()) == [3] * 10
    assert len({seed for _, seed in found}) == 30


def test_copies_go_to_different_processes(monkeypatch):
    whole = drawn(repeated(30, repeats=3))
    shares = [drawn(repeated(30, rank, 3, monkeypatch, repeats=3)) for rank in range(3)]
    assert [len(share) for share in shares] == [10, 10, 10]
    assert [item for row in zip(*shares, strict=True) for item in row] == whole
    assert all(len({index for index, _ in row}) == 1 for row in zip(*shares, strict=True))


def test_repeats_are_resumed_in_the_middle_of_an_epoch():
    sampler = repeated(30)
    sampler.set_epoch(4)
    whole = drawn(sampler)
    resumed = repeated(30)
    resumed.set_progress(epoch=4, start=11)
    assert drawn(resumed) == whole[11:]
    assert drawn(resumed) == whole
    resumed.set_epoch(5)
    assert len({i for i, _ in drawn(resumed)} - {i for i, _ in whole}) > 0


def test_length_is_rounded_as_in_deit(monkeypatch):
    assert len(repeated(1000)) == 768
    assert len(repeated(1000, 1, 3, monkeypatch)) == 256
    assert len(repeated(1281167, 0, 8, monkeypatch)) == 1281167 // 256 * 256 // 8
    assert len(repeated(1000, 0, 1, monkeypatch, round_to=1)) == 1000
    with pytest.raises(ValueError, match='must be positive, got repeats=0'):
        repeated(10, repeats=0)
