from collections import Counter

import pytest
from mmengine.registry import DATA_SAMPLERS

from lightvit_dense.datasets import determinism


def build(size, rank=0, world=1, monkeypatch=None, **kwargs):
    if monkeypatch:
        monkeypatch.setattr(determinism, 'get_dist_info', lambda: (rank, world))
    cfg = dict(type='lightvit_dense.RepeatedAugmentSampler', dataset=range(size), seed=7)
    return DATA_SAMPLERS.build(cfg | kwargs)


def drawn(sampler):
    return [(int(index), index.seed) for index in sampler]


def test_repeats_with_different_augmentation():
    found = drawn(build(30, repeats=3))
    assert len(found) == 30  # an epoch keeps its length
    indices = [index for index, _ in found]
    assert all(indices[i] == indices[i + 1] == indices[i + 2] for i in range(0, 30, 3))
    assert sorted(Counter(indices).values()) == [3] * 10
    assert len({seed for _, seed in found}) == 30


def test_copies_go_to_different_processes(monkeypatch):
    whole = drawn(build(30, repeats=3))
    shares = [drawn(build(30, rank, 3, monkeypatch, repeats=3)) for rank in range(3)]
    assert [len(share) for share in shares] == [10, 10, 10]
    assert [item for row in zip(*shares, strict=True) for item in row] == whole
    for row in zip(*shares, strict=True):
        assert len({index for index, _ in row}) == 1


def test_is_resumed_in_the_middle_of_an_epoch():
    sampler = build(30)
    sampler.set_epoch(4)
    whole = drawn(sampler)
    resumed = build(30)
    resumed.set_progress(epoch=4, start=11)
    assert drawn(resumed) == whole[11:]
    assert drawn(resumed) == whole
    resumed.set_epoch(5)
    assert drawn(resumed) != whole
    assert len({i for i, _ in drawn(resumed)} - {i for i, _ in whole}) > 0


def test_length_is_rounded_as_in_deit(monkeypatch):
    assert len(build(1000)) == 768
    assert len(build(1000, 1, 3, monkeypatch)) == 256
    assert len(build(1281167, 0, 8, monkeypatch)) == 1281167 // 256 * 256 // 8
    assert len(build(1000, 0, 1, monkeypatch, round_to=1)) == 1000
    with pytest.raises(ValueError, match='must be positive, got repeats=0'):
        build(10, repeats=0)
