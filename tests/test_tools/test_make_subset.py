"""Subsets of data, and tools/dataset_converters/make_subset.py as users run it."""

import numpy as np
import pytest

from lightvit_dense.datasets import DatasetError, ImageNet
from lightvit_dense.datasets.subsets import balanced_subset, long_tail_sizes, sized_subset

TOOL = 'dataset_converters/make_subset.py'


def test_every_class_gives_its_share():
    labels = np.repeat([2, 0, 1], [1300, 732, 3])
    chosen = balanced_subset(labels, 0.01, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [7, 1, 13]
    assert (np.diff(chosen) > 0).all()
    larger = balanced_subset(labels, 0.1, seed=0)
    assert set(chosen) <= set(larger)
    assert set(chosen) != set(balanced_subset(labels, 0.01, seed=1))
    assert len(balanced_subset(labels, 1.0, seed=0)) == len(labels)
    for fraction in (0.0, 1.5):
        with pytest.raises(DatasetError, match=r'must lie in \(0, 1\]'):
            balanced_subset(labels, fraction, seed=0)


def test_the_list_is_read_back(tmp_path, call_tool):
    for name, count in (('cat', 10), ('dog', 20)):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / f'train/{name}/{name} {number}.JPEG').touch()
    out = tmp_path / 'lists/fifth.txt'
    status, printed, _ = call_tool(TOOL, tmp_path, out, '--fraction', '0.2')
    assert status == 0
    assert '6 of 30 images of 2 classes' in printed
    dataset = ImageNet(str(tmp_path), ann_file='lists/fifth.txt')
    assert np.bincount(dataset.labels()).tolist() == [2, 4]
    status, _, error = call_tool(TOOL, tmp_path, out, '--fraction', '0.2', '--img-dir', 'none')
    assert status == 2
    assert 'does not exist' in error


def test_a_long_tail_has_the_sizes_of_imagenet_lt():
    counts = np.full(1000, 1300)
    counts[:105] = np.linspace(732, 1290, 105)  # as in ImageNet
    labels = np.repeat(np.arange(1000), counts)
    sizes = long_tail_sizes(labels)
    assert (min(sizes.values()), max(sizes.values())) == (5, 1280)
    assert 0.95 < sum(sizes.values()) / 115846 < 1.1  # the published number of images
    values = np.array([*sizes.values()])
    # The published shares of classes with more than 100 and at most 20 images.
    assert abs((values > 100).mean() - 0.385) < 0.1
    assert abs((values <= 20).mean() - 0.136) < 0.1
    assert all(size <= counts[label] for label, size in sizes.items())
    chosen = sized_subset(labels, sizes, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [sizes[label] for label in range(1000)]
    half = long_tail_sizes(labels, largest=640, smallest=2)
    assert set(sized_subset(labels, half, seed=0)) < set(chosen)
    other = long_tail_sizes(labels, seed=1)
    assert sorted(other.values()) == sorted(sizes.values())
    assert other != sizes


def test_a_long_tail_takes_the_classes_that_have_enough():
    labels = np.repeat(np.arange(4), [5, 50, 12, 30])
    for seed in range(5):
        sizes = long_tail_sizes(labels, largest=50, smallest=2, seed=seed)
        assert sizes == {0: 2, 1: 50, 2: 11, 3: 25}
    with pytest.raises(DatasetError, match='no class is left that has 60 images; the largest has'):
        long_tail_sizes(labels, largest=60)
    for bounds in ((4, 5), (4, 0)):
        with pytest.raises(DatasetError, match='the smallest class must have at least 1 image'):
            long_tail_sizes(labels, *bounds)
    with pytest.raises(DatasetError, match='class 0 has 5 images, 6 are asked for'):
        sized_subset(labels, {0: 6}, seed=0)


def test_the_tool_writes_a_long_tail(tmp_path, call_tool):
    for name in 'abcde':
        (tmp_path / 'train' / name).mkdir(parents=True)
        for number in range(12):
            (tmp_path / f'train/{name}/{number}.JPEG').touch()
    words = [TOOL, tmp_path, tmp_path / 'lt.txt', '--long-tail']
    status, printed, _ = call_tool(*words, '--largest', '12', '--smallest', '2')
    assert status == 0
    assert 'of 60 images of 5 classes, 2 to 12 a class' in printed
    found = np.bincount(ImageNet(str(tmp_path), ann_file='lt.txt').labels())
    assert sorted(found.tolist()) == [2, 3, 5, 7, 12]  # quantiles by hand
    status, _, error = call_tool(*words)
    assert status == 2
    assert 'no class is left that has 1280 images' in error
