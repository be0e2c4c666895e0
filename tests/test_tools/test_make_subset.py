"""Subsets of data, and tools/dataset_converters/make_subset.py as users run it."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from lightvit_dense.datasets import DatasetError, ImageNet
from lightvit_dense.datasets.subsets import balanced_subset
from lightvit_dense.errors import run_tool

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/make_subset.py'


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


def test_the_list_is_read_back(tmp_path, monkeypatch, capsys):
    for name, count in (('cat', 10), ('dog', 20)):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / f'train/{name}/{name} {number}.JPEG').touch()
    out = tmp_path / 'lists/fifth.txt'
    tool = runpy.run_path(str(TOOL))
    args = ['make_subset.py', str(tmp_path), str(out), '--fraction', '0.2']
    monkeypatch.setattr(sys, 'argv', args)
    assert run_tool(tool['main']) == 0
    assert '6 of 30 images of 2 classes' in capsys.readouterr().out
    dataset = ImageNet(str(tmp_path), ann_file='lists/fifth.txt')
    assert np.bincount(dataset.labels()).tolist() == [2, 4]
    monkeypatch.setattr(sys, 'argv', [*args, '--img-dir', 'none'])
    assert run_tool(tool['main']) == 2
    assert 'does not exist' in capsys.readouterr().err
