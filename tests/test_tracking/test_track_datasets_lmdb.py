"""LMDBs of sequences: those of others, and those that the tool writes as users run it."""

import json
import runpy
import sys
from pathlib import Path

import lmdb
import pytest

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.storage import LmdbStorage
from lightvit_dense.errors import run_tool
from tracking.datasets import CocoSequences, GOT10k, LaSOT, TrackingNet

from .small_sequences import (
    same,
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
    same(kind(tmp_path / 'root'), kind(tmp_path / 'base', source='lmdb'))
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
        whole = TrackingNet(tmp_path / 'root', split)
        same(whole, TrackingNet(tmp_path / 'base', split, source='lmdb'))


@pytest.mark.parametrize(
    ('name', 'root', 'message'),
    [
        ('lasso', 'root', "Did you mean 'lasot'?"),
        ('got10k', 'root', 'does not hold got10k; there is no train/list.txt'),
        ('lasot', 'nowhere', 'nowhere: this folder does not exist'),
    ],
)
def test_mistakes_are_told(tmp_path, run, name, root, message):
    write_lasot(tmp_path / 'root')
    status, text = run(name, tmp_path / root, tmp_path / 'base')
    assert status == 2
    assert message in text
    assert not (tmp_path / 'base').exists()


def foreign_lmdb(root, target):
    """An LMDB as other programs write it: the files by their paths, and nothing else."""
    environment = lmdb.open(str(target), map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for path in root.rglob('*'):
            if path.is_file():
                transaction.put(path.relative_to(root).as_posix().encode(), path.read_bytes())
    environment.close()


def test_lmdbs_of_other_programs_equal_folders(tmp_path):
    sets = {'lasot': LaSOT, 'got10k': GOT10k, 'trackingnet': TrackingNet, 'coco': CocoSequences}
    for number in (2, 3, 10, 11):
        boxes = some_boxes(number, number)
        write_lasot_sequence(tmp_path / 'lasot', f'cat-{number}', boxes, [1], [0])
    write_got10k(tmp_path / 'got10k')
    write_trackingnet(tmp_path / 'trackingnet')
    write_coco(tmp_path / 'coco')
    for name in ('lasot', 'got10k', 'coco'):
        foreign_lmdb(tmp_path / name, tmp_path / f'{name}_lmdb')
    base = tmp_path / 'trackingnet_lmdb'
    base.mkdir()
    for part in ('TRAIN_0', 'TRAIN_10', 'TEST'):
        foreign_lmdb(tmp_path / 'trackingnet' / part, base / f'{part}_lmdb')
    splits = {'lasot': ('train', 'test'), 'got10k': ('vottrain', 'train_full', 'test')}
    splits |= {'trackingnet': ('train', 'test'), 'coco': (None,)}
    for name, kind in sets.items():
        for split in splits[name]:
            options = {} if split is None else {'split': split}
            folder = kind(tmp_path / name, **options)
            same(folder, kind(tmp_path / f'{name}_lmdb', source='lmdb', **options))
    (base / 'seq_list.json').write_text(json.dumps([[10, 'cc'], [0, 'bb']]))
    assert TrackingNet(base, source='lmdb').names == ['bb', 'cc']
    for text, words in (
        ('[[0, "nobody"]]', r"TRAIN_0_lmdb, key 'anno/nobody.txt' does not exist"),
        ('[1]', r'seq_list.json: is no list of'),
    ):
        (base / 'seq_list.json').write_text(text)
        with pytest.raises(DatasetError, match=words):
            TrackingNet(base, source='lmdb')


def test_a_frame_that_an_lmdb_lacks_is_named(tmp_path):
    folder = write_lasot_sequence(tmp_path / 'lasot', 'cat-2', some_boxes(4))
    (folder / 'img' / '00000002.jpg').unlink()
    foreign_lmdb(tmp_path / 'lasot', tmp_path / 'base')
    data = LaSOT(tmp_path / 'base', source='lmdb')
    with pytest.raises(DatasetError, match=r"base, key 'cat/cat-2/img/00000002.jpg' does not"):
        data.frames(0).read(1)
    with pytest.raises(DatasetError, match=r'this LMDB does not exist.*make_tracking_lmdb'):
        LaSOT(tmp_path / 'nowhere', source='lmdb')
    with pytest.raises(ValueError, match=r"'folder' or 'lmdb'"):
        LaSOT(tmp_path / 'base', source='zip')
