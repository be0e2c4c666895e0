"""Images without labels, and samplers that seed each item."""

import itertools
import pickle
import pkgutil
import random
from collections import Counter
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset, default_collate
from torch.utils.data import DataLoader

from lightvit_dense.datasets import (
    DatasetError,
    ImageFiles,
    SeededIndex,
    SeededInfiniteSampler,
    SeededSampler,
    determinism,
)
from tests.helpers.data_sets import batches, build, sampler_of, write_image

TRANSFORMS = 'lightvit_dense.datasets.transforms'
PIPELINE = [
    dict(type='lightvit_dense.LoadRandomResizedCrop', size=24, interpolation='random'),
    dict(type='lightvit_dense.RandomFlipFlag'),
    dict(type='lightvit_dense.PackImage'),
]


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp('images')
    for number in range(7):
        write_image(root / f'{number:03d}.jpg', (40, 56), number)
    return build('ImageFiles', root, pipeline=PIPELINE)


@pytest.fixture
def samplers(monkeypatch):
    """Return a function that builds the sampler of each process."""

    def make(kind, size, world, **options):
        found = []
        for rank in range(world):
            monkeypatch.setattr(determinism, 'get_dist_info', lambda rank=rank: (rank, world))
            found.append(sampler_of(range(size), kind, **options))
        return found

    return make


def drawn(sampler, count=None):
    return [(int(index), index.seed) for index in itertools.islice(sampler, count)]


def test_items(dataset):
    item, again = dataset[SeededIndex(3, 11)], dataset[SeededIndex(3, 11)]
    assert item['inputs'].dtype == torch.uint8
    assert item['inputs'].shape == (3, 24, 24)
    assert item['inputs'].permute(1, 2, 0).is_contiguous()  # channels last, copied once
    assert item['data_samples'].img_path.endswith('003.jpg')
    assert item['data_samples'].ori_shape == (40, 56)
    assert torch.equal(item['inputs'], again['inputs'])
    assert item['flip'] is again['flip']
    assert not torch.equal(item['inputs'], dataset[SeededIndex(3, 12)]['inputs'])
    assert {dataset[SeededIndex(1, seed)]['flip'] for seed in range(20)} == {True, False}


def test_bits_depend_on_neither_workers_nor_start(dataset):
    options = dict(size=3, collate_fn=default_collate)
    alone = torch.stack([batch['inputs'] for batch in batches(dataset, 0, count=5, **options)])
    for workers, start in ((1, 0), (2, 0), (2, 1)):
        later = batches(dataset, workers, start=3 * start, **options)
        assert torch.equal(torch.stack([b['inputs'] for b in later]), alone[start : start + 4])


def test_ambient_generators_are_left_alone(dataset):
    draws = []
    for touch in (False, True):
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(1)
        if touch:
            dataset[SeededIndex(0, 4)]
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]


def test_index_survives_pickle_and_arithmetic():
    index = SeededIndex(7, 2**62 + 1)
    found = [pickle.loads(pickle.dumps(index)), index - 5, index % 4, index + 1]
    assert drawn(found) == [(value, index.seed) for value in (7, 2, 3, 8)]


@pytest.mark.parametrize(
    'wrap',
    [lambda dataset: ConcatDataset([dataset] * 2), lambda dataset: RepeatDataset(dataset, 2)],
)
def test_wrappers_keep_the_seed(dataset, wrap):
    expected = dataset[SeededIndex(2, 9)]['inputs']
    for index in (2, 2 + len(dataset)):
        np.random.seed(index)
        assert torch.equal(wrap(dataset)[SeededIndex(index, 9)]['inputs'], expected)


@pytest.mark.parametrize('kind', ['SeededSampler', 'SeededInfiniteSampler'])
def test_an_epoch_is_a_permutation_and_differs_from_the_next(kind):
    sampler = sampler_of(range(50), kind)
    first = drawn(sampler, 50)
    sampler.set_epoch(1)
    following = drawn(sampler, 100)[50:] if kind == 'SeededInfiniteSampler' else drawn(sampler)
    orders = [[index for index, _ in epoch] for epoch in (first, following)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert orders[0] not in (orders[1], sorted(orders[0]))
    assert len({seed for _, seed in first + following}) == 100


@pytest.mark.parametrize(
    ('kind', 'size', 'world'),
    [
        *itertools.product(('SeededSampler', 'SeededInfiniteSampler'), (10, 11), (2,)),
        ('RepeatedAugmentSampler', 30, 3),  # copies of an image go to different processes
    ],
)
def test_ranks_share_the_data_out(samplers, kind, size, world):
    count = size // 10 * 10
    (alone,) = samplers(kind, size, 1)
    shares = [drawn(sampler, count // world) for sampler in samplers(kind, size, world)]
    assert [item for row in zip(*shares, strict=True) for item in row] == drawn(alone, count)


@pytest.mark.parametrize(
    ('kind', 'size', 'options', 'lengths'),
    [
        ('SeededSampler', 11, {}, [3, 3, 3, 3]),
        ('SeededSampler', 11, dict(round_up=False), [3, 3, 3, 2]),
        ('RepeatedAugmentSampler', 1000, {}, [768]),  # rounded as in DeiT
        ('RepeatedAugmentSampler', 1000, {}, [256] * 3),
        ('RepeatedAugmentSampler', 1000, dict(round_to=1), [1000]),
        ('RepeatedAugmentSampler', 1281167, {}, [160128] * 8),
    ],
)
def test_lengths_of_an_epoch(samplers, kind, size, options, lengths):
    found = samplers(kind, size, len(lengths), **options)
    assert [len(sampler) for sampler in found] == lengths
    assert size > 1000 or [len(list(sampler)) for sampler in found] == lengths


@pytest.mark.parametrize('start', [0, 1, 9, 10, 11, 25])
def test_infinite_progress(samplers, start):
    for sampler in samplers('SeededInfiniteSampler', 10, 2):
        whole = drawn(sampler, 40)
        sampler.skip(start)
        assert drawn(sampler, 15) == whole[start : start + 15]


@pytest.mark.parametrize(
    ('kind', 'options'),
    [('SeededSampler', {}), ('SeededSampler', dict(crops=3)), ('RepeatedAugmentSampler', {})],
)
def test_epoch_progress(kind, options):
    sampler = sampler_of(range(30), kind, **options)
    sampler.set_epoch(3)
    whole = drawn(sampler)
    sampler.set_progress(epoch=3, start=11)
    sampler.set_epoch(3)
    assert drawn(sampler) == whole[11:]
    assert drawn(sampler) == whole, 'the start holds for one pass only'
    sampler.set_progress(epoch=3, start=11)
    sampler.set_epoch(4)
    assert len(drawn(sampler)) == 30
    assert drawn(sampler) != whole


def test_repeats_with_different_augmentation():
    found = drawn(sampler_of(range(30), 'RepeatedAugmentSampler', repeats=3))
    indices = [index for index, _ in found]
    assert indices[::3] == indices[1::3] == indices[2::3]
    assert list(Counter(indices).values()) == [3] * 10  # an epoch keeps its length
    assert len({seed for _, seed in found}) == 30


@pytest.mark.parametrize(('size', 'world'), [(24, 1), (24, 2), (25, 2), (2, 1)])
def test_crops_of_an_image_stay_together(samplers, monkeypatch, size, world):
    seen, log, share = [], Mock(), -(-size // (3 * world))
    monkeypatch.setattr(determinism, 'print_log', log)
    for epoch in range(3):  # a pass over the images
        for sampler in samplers('SeededSampler', size, world, crops=3):
            sampler.set_epoch(epoch)
            found = drawn(sampler)
            indices = [index for index, _ in found]
            assert indices[::3] == indices[1::3] == indices[2::3]
            assert len(found) == len(sampler) == len({seed for _, seed in found}) == 3 * share
            seen += indices[::3]
    assert sorted(seen) == [*range(size)] if size == 24 else {*seen} == {*range(size)}
    told = f'{3 * share * world} crops of {share * world} images; all {size} images are seen in 3'
    assert told in log.call_args.args[0]


@pytest.mark.parametrize(
    ('decoder', 'calls', 'load'),
    [
        (f'{TRANSFORMS}.fast_crop.decode_window', 1 + 2 + 3, 'LoadRandomResizedCrop'),  # fractions
        (f'{TRANSFORMS}.loading.decode', 3, 'RandomResizedCrop'),
        (f'{TRANSFORMS}.loading.read_bytes', 3, 'LoadRandomResizedCrop'),
    ],
)
def test_repeats_of_a_batch_are_decoded_once(tmp_path, monkeypatch, decoder, calls, load):
    """The pixels are those of single items."""
    for number in range(3):
        write_image(tmp_path / f'{number}.jpg', (130, 170), number)
    whole = [dict(type='lightvit_dense.LoadImage', color='rgb')] * (load == 'RandomResizedCrop')
    steps = [*whole, dict(type=f'lightvit_dense.{load}', size=24), PIPELINE[-1]]
    data = build('ImageFiles', tmp_path, pipeline=steps)
    indices = [SeededIndex(index, seed) for seed, index in enumerate([2, 2, 0, 2, 1, 2, 1, 2])]
    alone = [data[index]['inputs'] for index in indices]
    spy = Mock(side_effect=pkgutil.resolve_name(decoder))
    monkeypatch.setattr(decoder, spy)
    together = next(iter(DataLoader(data, len(indices), sampler=indices, collate_fn=list)))
    assert spy.call_count <= calls
    assert not data._repeats  # kept no longer
    assert all(torch.equal(a, item['inputs']) for a, item in zip(alone, together, strict=True))


def test_without_shuffle():
    sampler = SeededInfiniteSampler(range(3), shuffle=False, seed=0)
    assert list(itertools.islice(sampler, 7)) == [0, 1, 2, 0, 1, 2, 0]
    assert len(sampler) == 3
    assert list(SeededSampler(range(3), shuffle=False, seed=0)) == [0, 1, 2]


def test_wrong_arguments_of_samplers():
    with pytest.raises(ValueError, match='empty'):
        SeededSampler([], seed=0)
    with pytest.raises(ValueError, match='start=11'):
        SeededSampler(range(10), seed=0).set_progress(start=11)
    with pytest.raises(ValueError, match='must be positive, got repeats=0'):
        sampler_of(range(10), 'RepeatedAugmentSampler', repeats=0)
    with pytest.raises(ValueError, match='crops=2: must be positive, and more than 1 needs round'):
        sampler_of(range(10), 'SeededSampler', crops=2, round_up=False)


def test_image_files_lists_sorted_and_nested(tmp_path):
    with pytest.raises(DatasetError, match=r'no image with an ending of \.jpg'):
        ImageFiles(str(tmp_path))
    with pytest.raises(DatasetError, match='nowhere: this image folder does not exist'):
        ImageFiles(str(tmp_path), 'nowhere')
    names = ['a/000.jpg', 'a/001.jpg', 'a/UPPER.JPG', 'b/n02/000.jpg', 'b/n02/001.jpg']
    for name in (*reversed(names), 'a/notes.txt', 'a/.hidden.jpg'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    dataset = ImageFiles(str(tmp_path), pipeline=[])
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert paths == [f'{tmp_path}/{name}' for name in names]
    assert len(ImageFiles(str(tmp_path), indices=2)) == 2
