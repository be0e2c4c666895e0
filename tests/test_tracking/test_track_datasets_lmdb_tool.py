"""tools/dataset_converters/make_tracking_lmdb.py as users run it."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from lightvit_dense.datasets.storage import LmdbStorage
from lightvit_dense.errors import run_tool
from tracking.datasets import CocoSequences, GOT10k, LaSOT, TrackingNet

from .small_sequences import (
    some_boxes,
    write_coco,
    write_got10k,
    write_lasot_sequence,
    write_trackingnet,
)

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/make_tracking_lmdb.py'


@pytest.fixture
def run(monkeypatch, capsys):
    main = runpy.run_path(str(TOOL))['main']

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, args)])
        status = run_tool(main)
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


def write_lasot(root):
    write_lasot_sequence(root, 'cat-2', some_boxes(3), [1])
    (root / 'testing_set.txt').write_text('cat-7\n')


CASES = {
    'lasot': (write_lasot, LaSOT, 'cat/cat-2/img/00000001.jpg'),
    'got10k': (write_got10k, GOT10k, 'train/GOT-10k_Train_000001/absence.label'),
    'coco': (write_coco, CocoSequences, 'annotations/instances_train2017.json'),
}


@pytest.mark.parametrize('name', CASES)
def test_what_is_written_reads_as_the_folder(tmp_path, run, name):
    make, kind, key = CASES[name]
    make(tmp_path / 'root')
    (tmp_path / 'root' / 'archive.zip').write_bytes(b'zip')
    status, text = run(name, tmp_path / 'root', tmp_path / 'base')
    assert status == 0, text
    assert 'every file matches its SHA-256' in text
    storage = LmdbStorage(tmp_path / 'base')
    assert storage.read(key) == (tmp_path / 'root' / key).read_bytes()
    assert not storage.exists('archive.zip')
    folder, base = kind(tmp_path / 'root'), kind(tmp_path / 'base', source='lmdb')
    assert folder.names == base.names
    for one, other in zip(folder, base, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.visible, other.visible)
        np.testing.assert_array_equal(one.frames.read(0), other.frames.read(0))
    storage.close()  # an LMDB is open once in a process
    status, text = run(name, tmp_path / 'root', tmp_path / 'base', '--no-verify')
    assert status == 0
    assert '; 0 written,' in text


def test_trackingnet_gets_an_lmdb_for_each_set(tmp_path, run):
    write_trackingnet(tmp_path / 'root')
    status, text = run('trackingnet', tmp_path / 'root', tmp_path / 'base')
    assert status == 0, text
    names = sorted(path.name for path in (tmp_path / 'base').iterdir())
    assert names == ['TEST_lmdb', 'TRAIN_0_lmdb', 'TRAIN_10_lmdb', 'seq_list.json']
    listed = json.loads((tmp_path / 'base/seq_list.json').read_text())
    assert listed == [[0, 'aa'], [0, 'bb'], [10, 'cc']]
    assert LmdbStorage(tmp_path / 'base/TRAIN_10_lmdb').exists('frames/cc/1.jpg')
    for split in ('train', 'test'):
        folder = TrackingNet(tmp_path / 'root', split)
        base = TrackingNet(tmp_path / 'base', split, source='lmdb')
        assert folder.names == base.names
        for one, other in zip(folder, base, strict=True):
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.frames.read(-1), other.frames.read(-1))


def test_mistakes_are_told(tmp_path, run):
    write_lasot(tmp_path / 'root')
    status, text = run('lasso', tmp_path / 'root', tmp_path / 'base')
    assert (status, "Did you mean 'lasot'?" in text) == (2, True)
    status, text = run('got10k', tmp_path / 'root', tmp_path / 'base')
    assert (status, 'does not hold got10k; there is no train/list.txt' in text) == (2, True)
    status, text = run('lasot', tmp_path / 'nowhere', tmp_path / 'base')
    assert (status, 'nowhere: this folder does not exist' in text) == (2, True)
    assert not (tmp_path / 'base').exists()
