"""The index: what is kept, when it is made anew, and who may share it."""

import os
import pickle

import numpy as np
import pytest

from lightvit_dense.datasets.errors import DatasetError
from tracking.datasets import LaSOT, TrackingNet, cache
from tracking.datasets.table import BadTable, SequenceRow, join, open_table, pack_rows, write_table

from .small_sequences import in_processes, same, some_boxes, write_lasot_sequence, write_trackingnet


@pytest.fixture
def root(tmp_path):
    for number in (2, 3, 8, 9):  # 2 is for testing
        write_lasot_sequence(tmp_path / 'data', f'bear-{number}', some_boxes(4, number), [1])
    return tmp_path / 'data'


@pytest.fixture
def builds(monkeypatch):
    """How often annotations were read."""
    counted = []
    rows = LaSOT.rows
    monkeypatch.setattr(LaSOT, 'rows', lambda self: counted.append(self.split) or rows(self))
    return counted


def rows():
    for place, count in enumerate((3, 1, 5)):
        boxes = some_boxes(count, place) + (0.1 if place == 2 else 0)
        visible = np.arange(count) % 2 == 0
        gone = {'away': ~visible}
        marks = ('Blur',) if place else ()
        yield SequenceRow(
            f'näme-{place}', f'f/{place}', 9, boxes, visible, 'abc'[place % 2], gone, marks
        )


@pytest.mark.parametrize('kept', [False, True])
def test_a_table_gives_back_what_was_packed(tmp_path, kept):
    chunks, meta = pack_rows(rows(), ['away'], ['Noise', 'Blur'])
    table = join(chunks, meta)
    if kept:
        write_table(tmp_path / 'a.index', chunks, {**meta, 'fingerprint': 'x'})
        table = open_table(tmp_path / 'a.index')
    for place, due in enumerate(rows()):
        row = table.row(place)
        np.testing.assert_array_equal(row.boxes, due.boxes)
        np.testing.assert_array_equal(row.visible, due.visible)
        np.testing.assert_array_equal(row.gone['away'], due.gone['away'])
        names = ('name', 'folder', 'length', 'class_name', 'attributes')
        assert [getattr(row, n) for n in names] == [getattr(due, n) for n in names]
    assert table.visible_counts().tolist() == [2, 1, 3]
    assert table.arrays['boxes'].dtype == np.float64  # 0.1 is no number of 32 bits
    assert [part.dtype for part in chunks['boxes']] == [np.float32, np.float32, np.float64]


def test_a_damaged_file_is_told_apart(tmp_path):
    path = tmp_path / 'a.index'
    chunks, meta = pack_rows(rows(), ['away'])
    write_table(path, chunks, {**meta, 'fingerprint': 'x'})
    whole = path.read_bytes()
    assert b'"<i8"' in whole
    changed = (whole.replace(b'"size"', b'"side"'), whole.replace(b'"<i8"', b'"|O8"'))
    for damaged in (whole[:-1], whole[:20], b'', b'other' + whole, *changed):
        path.write_bytes(damaged)
        with pytest.raises(BadTable, match='array of object' if b'|O8' in damaged else None):
            open_table(path)
    assert os.listdir(tmp_path) == ['a.index']


def test_annotations_are_read_once(root, tmp_path, builds):
    first = LaSOT(root, cache_dir=tmp_path / 'cache')
    second = LaSOT(root, cache_dir=tmp_path / 'cache')
    assert builds == ['train']
    np.testing.assert_array_equal(first.boxes(0), second.boxes(0))
    assert not second.boxes(0).flags.writeable
    LaSOT(root, 'test', cache_dir=tmp_path / 'cache')
    LaSOT(root, lengths='shortest', cache_dir=tmp_path / 'cache')
    assert builds == ['train', 'test', 'train']


def edit(root):
    (root / 'bear/bear-3/groundtruth.txt').write_text('1,2,3,4\n' * 3 + '9,9,9,9\n')


def touch_flags(root):
    path = root / 'bear/bear-3/out_of_view.txt'
    path.write_text('1,0,0,0')
    os.utime(path, ns=(1, 1))  # as large as before


def add_attributes(root):
    (root / 'att').mkdir()
    (root / 'att/bear-3.txt').write_text('1' + ',0' * 13)


CHANGES = {
    'edit': edit,
    'touch flags': touch_flags,
    'add': lambda root: write_lasot_sequence(root, 'bear-7', some_boxes(2)),
    'remove': lambda root: (root / 'bear/bear-5').rename(root / 'other'),
    'relist': lambda root: (root / 'testing_set.txt').write_text('bear-3\n'),
    'attributes': add_attributes,
}


@pytest.mark.parametrize('change', CHANGES)
def test_changes_are_noticed(root, tmp_path, builds, change):
    write_lasot_sequence(root, 'bear-5', some_boxes(4, 5))
    LaSOT(root, cache_dir=tmp_path / 'cache')
    CHANGES[change](root)
    kept, fresh = LaSOT(root, cache_dir=tmp_path / 'cache'), LaSOT(root)
    assert len(builds) == 3
    same(kept, fresh)
    assert [one.attributes for one in kept] == [one.attributes for one in fresh]
    assert len(list((tmp_path / 'cache').glob('*.index'))) == 1


def test_a_damaged_index_is_made_anew(root, tmp_path, builds):
    due = LaSOT(root, cache_dir=tmp_path / 'cache')[0].boxes
    (path,) = (tmp_path / 'cache').glob('*.index')
    path.write_bytes(path.read_bytes()[:-5])
    np.testing.assert_array_equal(LaSOT(root, cache_dir=tmp_path / 'cache')[0].boxes, due)
    LaSOT(root, cache_dir=tmp_path / 'cache')
    assert len(builds) == 2
    (root / 'bear/bear-3/img/00000004.jpg').unlink()
    with pytest.raises(DatasetError, match=r'3 frames, .* 4 boxes'):
        LaSOT(root, cache_dir=tmp_path / 'cache')


def test_small_sets_are_not_kept_unasked(root, tmp_path, monkeypatch):
    monkeypatch.setenv('LIGHTVIT_CACHE', str(tmp_path / 'cache'))
    LaSOT(root)
    assert not (tmp_path / 'cache').exists()
    monkeypatch.setattr('tracking.datasets.videos.CACHE_FROM', 1)
    LaSOT(root)
    assert len(list((tmp_path / 'cache').glob('lasot-train-*.index'))) == 1


def test_a_place_that_cannot_be_written_is_told_once(root, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(cache, 'print_log', lambda text, **_: told.append(text))
    (tmp_path / 'file').write_text('')  # no folder can be made below a file
    for _ in range(2):
        assert len(LaSOT(root, cache_dir=tmp_path / 'file' / 'cache')) == 3
    assert len(told) == 1
    assert 'LIGHTVIT_CACHE' in told[0]

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(cache, 'write_table', full)
    assert len(LaSOT(root, cache_dir=tmp_path / 'cache')) == 3
    assert 'No space left' in told[1]


def test_pickles_name_the_file_and_not_its_content(root, tmp_path):
    data = LaSOT(root, cache_dir=tmp_path / 'cache')
    packed = pickle.dumps(data)
    copy = pickle.loads(packed)
    assert copy.table.path == data.table.path
    np.testing.assert_array_equal(copy[2].boxes, data[2].boxes)
    np.testing.assert_array_equal(copy[2].frames.read(1), data[2].frames.read(1))
    edit(root)
    LaSOT(root, cache_dir=tmp_path / 'cache')
    with pytest.raises(DatasetError, match=r'made anew, as annotations changed'):
        pickle.loads(packed)
    # Pages that are mapped outlive the file they came from.
    np.testing.assert_array_equal(data[0].boxes, copy[0].boxes)
    alone = pickle.loads(pickle.dumps(LaSOT(root)))
    np.testing.assert_array_equal(alone[2].boxes, data[2].boxes)


def _open_slowly(root, folder, log):
    original = LaSOT.rows

    def slow(self):
        with open(log, 'a') as file:
            file.write('built\n')
        return original(self)

    LaSOT.rows = slow
    LaSOT(root, cache_dir=folder)


def test_processes_that_start_together_build_once(root, tmp_path):
    in_processes(_open_slowly, *[(root, tmp_path / 'cache', tmp_path / 'log')] * 4)
    assert (tmp_path / 'log').read_text() == 'built\n'


def test_the_sets_of_trackingnet_have_their_own_index(tmp_path):
    write_trackingnet(tmp_path / 'data')
    folder = tmp_path / 'cache'
    for sets, names in ((None, ['aa', 'bb', 'cc']), ([10], ['cc']), (None, ['aa', 'bb', 'cc'])):
        assert TrackingNet(tmp_path / 'data', sets=sets, cache_dir=folder).names == names
    assert len(list(folder.glob('*.index'))) == 2
