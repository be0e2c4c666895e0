"""Sets of sequences as published, what a run looks for before it starts, and the index."""

import json
import os
import pickle
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from mmengine.config import Config

from lightvit_dense.apis.preflight import find_missing
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from tests.helpers.processes import in_processes
from tracking import datasets
from tracking.datasets.published import got10k_positions, lasot_test
from tracking.datasets.table import (
    BadTable,
    SequenceRow,
    SequenceTable,
    open_table,
    pack_rows,
    write_table,
)
from tracking.datasets.text import parse_boxes, parse_flags
from tracking.registry import DATASETS

from . import small_sequences


@pytest.mark.parametrize(
    'text',
    [
        b'1,2,3,4\n5,6,7,8\n',
        b'1, 2,\t3 ; 4\r\n5\t6 7;8,\r\n \r\n\r\n',
        b'\xef\xbb\xbf1,2,3,4\n5,6,7,8',
        b'1,2,3,4\r5,6,7,8\r',
        b'1.0,2.,3e0,+4\n5,6,7,8',
    ],
)
def test_all_spellings_of_two_boxes(text):
    boxes = parse_boxes(text, 'there')
    assert boxes.dtype == np.float64
    assert boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (b'1,2,3,4\n1,2,x,4\n', r"gt.txt, line 2: 'x' is no number"),
        (b'1,2,3,4\n1,2,3\n1,2,3,4,5\n', 'gt.txt, line 2: has 3 numbers instead of 4'),
        (b'1,2,3,4\n\n1,2,3,4\n', 'gt.txt, line 2: has 0 numbers'),
        (b'1,2,3,4\n1,,3,4\n', 'gt.txt, line 2: has 3 numbers'),
        (b'\n\n', 'gt.txt: holds no box'),
        (b'', 'gt.txt: holds no box'),
        (b'1,2,-3,4\n', 'gt.txt, line 1: .*size -3 x 4'),
        (b'1,2,3,4\n1,2,inf,4\n', 'gt.txt, line 2: .*infinite'),
        ('1,2,3,4\n'.encode('utf-16'), 'is no number'),
    ],
)
def test_malformed_boxes_name_file_and_line(text, words):
    with pytest.raises(DatasetError, match=words):
        parse_boxes(text, 'gt.txt')


def test_flags_in_a_row_or_a_column():
    assert parse_flags(b'0,1,0\n', 'f').tolist() == parse_flags(b'0\n1\n0', 'f').tolist()
    with pytest.raises(DatasetError, match=r'whole numbers'):
        parse_flags(b'0,0.5', 'f')


def test_published_lists():
    names = lasot_test()
    assert len(set(names)) == 280
    assert len({name.rpartition('-')[0] for name in names}) == 70
    assert names[:4] == ('airplane-1', 'airplane-9', 'airplane-13', 'airplane-15')
    assert {'monkey-17', 'zebra-10', 'person-5', 'electricfan-20'} <= set(names)
    train, full = got10k_positions('train'), got10k_positions('train_full')
    vot_train, vot_val = got10k_positions('vottrain'), got10k_positions('votval')
    assert [len(p) for p in (full, train, vot_train, vot_val)] == [9335, 7934, 7086, 1249]
    assert full == tuple(range(9335))
    assert set(vot_train) < set(train)
    assert not set(vot_val) & set(train)
    assert {1349, 5878, 562, 2202, 8904, 7842} <= set(vot_val)
    assert not {5651, 765, 34, 5741} & (set(vot_val) | set(train))


def lasot(root):
    boxes = small_sequences.some_boxes(6, 1)
    boxes[2], boxes[3, 2], boxes[4, 1] = np.nan, 0, np.nan
    boxes[5, 3] = -2  # of a target that has left, in some sets
    small_sequences.write_lasot_sequence(root, 'airplane-1', boxes, occluded=[1], away=[5])
    for number in (2, 10, 9):
        small_sequences.write_lasot_sequence(
            root, f'airplane-{number}', small_sequences.some_boxes(3, number)
        )
    return boxes


def reasons(sequence):
    return {name: np.flatnonzero(flags).tolist() for name, flags in sequence.gone.items()}


def test_lasot_reads_boxes_flags_and_frames(tmp_path):
    boxes = lasot(tmp_path)
    small_sequences.write_attributes(tmp_path, 'airplane-1', (0, 13))
    data = DATASETS.build(dict(type='tracking.LaSOT', data_root=str(tmp_path), split='test'))
    assert (data.name, data.names) == ('LaSOT', ['airplane-1', 'airplane-9'])
    assert (data.lengths.tolist(), data.visible_counts.tolist()) == ([6, 3], [1, 3])
    assert data.is_video
    sequence = data[0]
    np.testing.assert_array_equal(sequence.boxes, boxes)
    assert sequence.boxes.dtype == np.float64
    assert sequence.visible.tolist() == [True, False, False, False, False, False]
    assert reasons(sequence) == {'full_occlusion': [1], 'out_of_view': [5]}
    assert sequence.class_name == 'airplane'
    assert sequence.attributes == ('Illumination Variation', 'Aspect Ratio Change')
    np.testing.assert_array_equal(data.boxes(-2), boxes)
    assert data.visible(1).tolist() == [True] * 3
    assert sequence.frames.name(2) == str(tmp_path / 'airplane/airplane-1/img/00000003.jpg')
    np.testing.assert_array_equal(sequence.frames.read(2), small_sequences.picture(2))
    for beyond in (lambda: sequence.frames.read(6), lambda: data[2]):
        with pytest.raises(IndexError):
            beyond()


def test_lasot_trains_on_what_is_not_listed_for_testing(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(datasets.videos, 'print_log', lambda text, **_: told.append(text))
    lasot(tmp_path)
    assert datasets.LaSOT(tmp_path).names == ['airplane-2', 'airplane-10']
    assert told == []
    datasets.LaSOT(tmp_path, 'test')
    assert len(told) == 1
    assert '2 of 280 listed sequences are there; missing are airplane-13, airplane-15' in told[0]
    (tmp_path / 'testing_set.txt').write_text('airplane-2\r\nairplane-10\n')
    assert datasets.LaSOT(tmp_path).names == ['airplane-1', 'airplane-9']
    assert datasets.LaSOT(tmp_path, 'test').names == ['airplane-2', 'airplane-10']
    (tmp_path / 'training_set.txt').write_text('airplane-9\n')
    assert datasets.LaSOT(tmp_path).names == ['airplane-9']


def test_lasot_names_what_is_wrong_and_which_frame(tmp_path):
    def fails(words, *args):
        with pytest.raises(UserError, match=words):
            datasets.LaSOT(*(args or (tmp_path,)))

    fails(r'does not exist. Set data_root', tmp_path / 'nowhere')
    fails(r"holds no sequence of 'train'.*airplane/airplane-1/")
    fails(r"Did you mean 'train'", tmp_path, 'trian')
    folder = small_sequences.write_lasot_sequence(tmp_path, 'cat-2', small_sequences.some_boxes(4))
    (folder / 'img' / '00000004.jpg').unlink()
    fails(r"cat-2: .* 3 frames, .* 4 boxes.*lengths='shortest'")
    shortest = datasets.LaSOT(tmp_path, lengths='shortest')
    assert shortest.lengths.tolist() == [3]
    for number in (4, 5):
        small_sequences.write_picture(folder / 'img' / f'{number:08d}.jpg', 0)
    fails(r'5 frames, .* 4 boxes')
    (folder / 'out_of_view.txt').write_text('0,0,0')
    fails(r'out_of_view.txt: has 3 flags for 4 boxes')
    (folder / 'out_of_view.txt').unlink()
    fails(r'out_of_view.txt does not exist')
    other = small_sequences.write_lasot_sequence(tmp_path, 'cat-5', small_sequences.some_boxes(2))
    (other / 'groundtruth.txt').write_text('1,2,3,4\n1,2,a,4')
    fails(r"2 of 2 sequences(.|\n)*cat-5.*line 2: 'a' is no")
    (folder / 'img' / '00000002.jpg').unlink()
    (folder / 'img' / '00000003.jpg').write_bytes(b'\xff\xd8 nothing')
    for index, words in ((1, '2.jpg does not exist'), (2, '3.jpg cannot be read: truncated')):
        with pytest.raises(DatasetError, match=words):
            shortest.frames(0).read(index)


def test_got10k_reads_labels_and_splits(tmp_path):
    boxes = small_sequences.write_got10k(tmp_path)
    full = datasets.GOT10k(tmp_path, 'train_full')
    assert full.names == [f'GOT-10k_Train_{n:06d}' for n in (1, 2, 5, 6, 12)]
    # Positions 0, 1, 4, 5, 11: two are set aside for validation, one is forbidden by VOT.
    for split, numbers in (('votval', (2, 12)), ('vottrain', (1, 6)), ('train', (1, 5, 6))):
        assert datasets.GOT10k(tmp_path, split).names == [f'GOT-10k_Train_{n:06d}' for n in numbers]
    sequence = full[0]
    np.testing.assert_array_equal(sequence.boxes, boxes)
    assert sequence.visible.tolist() == [True, False, False, True]
    assert reasons(sequence) == {'absence': [1], 'no_cover': [2]}
    assert sequence.class_name == 'brown bear'
    np.testing.assert_array_equal(sequence.frames.read(3), small_sequences.picture(3))
    tests = datasets.GOT10k(tmp_path, 'test')
    assert (tests[0].boxes.shape, tests[0].visible.tolist()) == ((1, 4), [True])
    assert (len(tests[0].frames), tests.lengths.tolist()) == (7, [7])
    shutil.rmtree(tmp_path / 'train' / 'GOT-10k_Train_000012')
    assert len(datasets.GOT10k(tmp_path, 'train_full')) == 4
    folder = tmp_path / 'train' / 'GOT-10k_Train_000001'
    for change, words in (
        (lambda: (folder / 'cover.label').write_text('8\n9\n8\n8\n'), 'cover is told in eighths'),
        (lambda: (folder / 'absence.label').unlink(), 'absence.label does not exist'),
        (lambda: (tmp_path / 'train/list.txt').unlink(), 'train/list.txt does not exist'),
    ):
        change()
        with pytest.raises(DatasetError, match=words):
            datasets.GOT10k(tmp_path, 'vottrain')


def test_trackingnet_counts_frames_from_zero(tmp_path):
    boxes = small_sequences.write_trackingnet(tmp_path)
    data = DATASETS.build(dict(type='tracking.TrackingNet', data_root=str(tmp_path)))
    assert data.names == ['aa', 'bb', 'cc']
    np.testing.assert_array_equal(data[1].boxes, boxes['bb'])
    assert data[2].frames.name(0) == str(tmp_path / 'TRAIN_10/frames/cc/0.jpg')
    np.testing.assert_array_equal(data[1].frames.read(11), small_sequences.picture(11))
    assert datasets.TrackingNet(tmp_path, sets=[10]).names == ['cc']
    tests = datasets.TrackingNet(tmp_path, 'test')
    assert (tests[0].boxes.shape, tests.lengths.tolist()) == ((1, 4), [5])
    for sets, words in (
        ([0, 3], r'has no folder TRAIN_3\. Unpack'),
        ([12], "'train' has the sets 0 to 11"),
    ):
        with pytest.raises(DatasetError, match=words):
            datasets.TrackingNet(tmp_path, sets=sets)


def test_coco_objects_are_sequences_of_one_frame(tmp_path):
    small_sequences.write_coco(tmp_path)
    assert datasets.CocoSequences(tmp_path).names == [
        'one_1',
        'one_2',
        'two_5',
    ]  # all but the crowd
    data = datasets.CocoSequences(tmp_path, min_size=50)
    assert not data.is_video
    assert data.names == ['one_1', 'two_5']
    assert data.lengths.tolist() == data.visible_counts.tolist() == [1, 1]
    assert data[1].boxes.tolist() == [[0.5, 1.25, 60.75, 50.5]]
    assert data[1].class_name == 'cat'
    assert data[1].frames.name(0) == str(tmp_path / 'train2017/two.jpg')
    with pytest.raises(DatasetError, match=r'no object of more than 900 x 900'):
        datasets.CocoSequences(tmp_path, min_size=900)
    path = tmp_path / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['image_id'] = 77
    for text, words in (
        (json.dumps(content), 'instances_train2017.json: an annotation is malformed'),
        ('[]', 'no file of instances in COCO format'),
    ):
        path.write_text(text)
        with pytest.raises(DatasetError, match=words):
            datasets.CocoSequences(tmp_path)


def test_custom_sequences_of_pictures_and_videos(tmp_path):
    boxes = small_sequences.some_boxes(11)
    for frame in range(11):
        small_sequences.write_picture(tmp_path / 'b' / f'shot{frame}.png', frame)
    small_sequences.write_rows(tmp_path / 'b' / 'groundtruth.txt', boxes, ' ')
    for frame in range(3):
        small_sequences.write_picture(tmp_path / 'a2' / 'img' / f'{frame}.png', frame + 50)
    small_sequences.write_rows(tmp_path / 'a2' / 'groundtruth_rect.txt', boxes[:1], '\t')
    shades = [np.full((48, 64, 3), (255 - 30 * f, 0, 30 * f), np.uint8) for f in range(8)]
    small_sequences.write_video(tmp_path / 'a10.avi', shades)
    small_sequences.write_rows(tmp_path / 'a10.txt', boxes[:8])
    data = datasets.CustomSequences(tmp_path)
    assert data.names == ['a2', 'a10', 'b']
    assert data.lengths.tolist() == [3, 8, 11]
    assert [len(s.boxes) for s in data] == [1, 8, 11]
    for place, frame, seed in ((2, 10, 10), (2, 2, 2), (0, 0, 50)):
        np.testing.assert_array_equal(data[place].frames.read(frame), small_sequences.picture(seed))
    frames = pickle.loads(pickle.dumps(data[1])).frames
    for index in (0, 1, 5, 2, 7, 0):  # ahead, far ahead, back
        means = frames.read(index).mean(axis=(0, 1))
        np.testing.assert_allclose(means, shades[index][0, 0], atol=12)
    small_sequences.write_rows(tmp_path / 'a10.txt', boxes[:7])
    with pytest.raises(DatasetError, match=r'a10.avi.* 8 frames, .*a10.txt 7 boxes'):
        datasets.CustomSequences(tmp_path)


def put(root, files):
    """Write files: pictures by seeds, others by their text."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            small_sequences.write_picture(root / name, content)
        else:
            (root / name).write_text(content)


BOXES = '1,2,3,4\n0,0,0,0\n5,6,7,8\n'
WALK = {f'walk/{frame}.png': frame for frame in range(3)} | {'walk/groundtruth.txt': BOXES}


@pytest.mark.parametrize(
    ('files', 'below', 'visible'),
    [
        (WALK, '', [0, 2]),  # a box without an area is an absent target
        (WALK, 'walk', [0, 2]),  # the sequence itself
        (
            {'w/img/2.pgm': 2, 'w/img/1.jpe': 1, 'w/img/0.PNG': 0, 'w/groundtruth.txt': BOXES},
            '',
            [0, 2],
        ),
        ({'w/imgs/0.png': 0, 'w/groundtruth_rect.txt': '1 2 3 4'}, 'w', [0]),
        ({'walk/._0.png': 7, '__MACOSX/walk/._1.png': 7, '.DS_Store': 'x', **WALK}, '', [0, 2]),
        *(
            ({f'walk/{file}': '0\n0\n1', **WALK}, '', [0])
            for file in datasets.custom._FLAGS
            if 'cov' not in file
        ),
        ({'walk/cover.label': '8\n8\n0', **WALK}, 'walk', [0]),
    ],
)
def test_folders_of_ones_own_sequences(tmp_path, files, below, visible):
    put(tmp_path, files)
    (sequence,) = datasets.CustomSequences(tmp_path / below)
    assert sequence.name == (
        'w' if 'w/groundtruth_rect.txt' in files or 'w/groundtruth.txt' in files else 'walk'
    )
    assert np.flatnonzero(sequence.visible).tolist() == visible
    for frame in range(len(sequence)):
        np.testing.assert_array_equal(sequence.frames.read(frame), small_sequences.picture(frame))


def test_boxes_that_count_pixels_from_one(tmp_path):
    put(tmp_path / 'own', WALK)
    (sequence,) = datasets.CustomSequences(
        tmp_path / 'own', first_pixel=1, cache_dir=tmp_path / 'cache'
    )
    assert sequence.boxes[::2].tolist() == [[0, 1, 3, 4], [4, 5, 7, 8]]
    (sequence,) = datasets.CustomSequences(tmp_path / 'own', cache_dir=tmp_path / 'cache')
    assert sequence.boxes[0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ('files', 'options', 'words'),
    [
        ({'walk/absence.txt': '0 1'}, {}, r'absence.txt: has 2 flags for 3 boxes'),
        ({'walk/cover.label': '8 x 8'}, {}, r"cover.label, line 1: 'x' is no number"),
        ({}, dict(first_pixel=2), 'first_pixel=2: files count'),
        ({}, dict(data_root='walk/0.png'), 'walk/0.png: is no folder'),
    ],
)
def test_ones_own_sequences_that_are_refused(tmp_path, monkeypatch, files, options, words):
    put(tmp_path, WALK | files)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=words):
        datasets.CustomSequences(**dict(data_root='.') | options)


def test_files_that_are_not_read_are_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(datasets.custom, 'print_log', lambda text, **_: told.append(text))
    put(tmp_path, {**WALK, 'walk/absence.label': '0 0 0', 'walk/nlp.txt': 'a man'})
    datasets.CustomSequences(tmp_path)
    assert not told
    put(tmp_path, {'walk/visible.txt': '1 1 1', 'run.txt': '1,2,3,4'})
    datasets.CustomSequences(tmp_path)
    assert 'run.txt, walk/visible.txt (2 in all) are not read; NAME.txt is for NAME.mp4' in told[0]


def test_custom_sequences_need_boxes_and_whole_videos(tmp_path):
    small_sequences.write_picture(tmp_path / 'a' / '0.png', 0)
    with pytest.raises(DatasetError, match=r'groundtruth.txt does not exist'):
        datasets.CustomSequences(tmp_path)
    (tmp_path / 'a' / 'groundtruth.txt').write_text('1,2,3,4')
    (tmp_path / 'b.mp4').write_bytes(b'no video')
    (tmp_path / 'b.txt').write_text('1,2,3,4')
    with pytest.raises(DatasetError, match=r'b.mp4: is no video that OpenCV can decode'):
        datasets.CustomSequences(tmp_path)
    # A video may be shorter than it says.
    path = small_sequences.write_video(
        tmp_path / 'a.avi', [small_sequences.picture(frame, 48, 64) for frame in range(20)]
    )
    assert len(datasets.VideoFrames(path)) == 20
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatasetError, match=r'a.avi'):  # when opened, or when read
        list(map(datasets.VideoFrames(path).read, range(20)))
    with pytest.raises(DatasetError, match=r'this video does not exist'):
        datasets.VideoFrames(tmp_path / 'gone.avi')


def test_missing_sets_are_named_by_their_keys(tmp_path):
    small_sequences.write_lasot_sequence(tmp_path / 'lasot', 'cat-2', small_sequences.some_boxes(2))
    sets = [
        dict(type='tracking.LaSOT', data_root=str(tmp_path / 'lasot')),
        dict(type='tracking.GOT10k', data_root=str(tmp_path / 'got'), split='vottrain'),
        dict(type='tracking.TrackingNet', data_root=str(tmp_path / 'net'), sets=[0, 3]),
        dict(type='tracking.TrackingNet', data_root=str(tmp_path / 'net2'), source='lmdb'),
        dict(type='tracking.CocoSequences', data_root=str(tmp_path / 'coco')),
    ]
    tests = dict(type='tracking.LaSOT', data_root=str(tmp_path / 'other'), split='test')
    train = dict(dataset=dict(type='tracking.PairDataset', sets=sets))
    test = dict(dataset=dict(type='tracking.SequenceDataset', sequences=tests))
    cfg = Config(dict(model=dict(), train_dataloader=train, test_dataloader=test))
    missing = find_missing(cfg, 'train')
    key = 'train_dataloader.dataset.sets'
    files = ('got/train/list.txt', 'net/TRAIN_0', 'net/TRAIN_3', 'net2')
    files += ('coco/annotations/instances_train2017.json', 'coco/train2017')
    wanted = zip(files, (1, 2, 2, 3, 4, 4), strict=True)
    found = [(asset.path, asset.key) for asset in missing]
    assert found == [(str(tmp_path / f), f'{key}.{place}.data_root') for f, place in wanted]
    assert "GOT-10k's archives" in missing[0].origin
    (asset,) = find_missing(cfg, 'test')
    assert asset.path == str(tmp_path / 'other')
    assert asset.key == 'test_dataloader.dataset.sequences.data_root'
    assert "LaSOT's classes" in asset.origin


@pytest.fixture
def root(tmp_path):
    for number in (2, 3, 8, 9):  # 2 is for testing
        small_sequences.write_lasot_sequence(
            tmp_path / 'data', f'bear-{number}', small_sequences.some_boxes(4, number), [1]
        )
    return tmp_path / 'data'


@pytest.fixture
def builds(monkeypatch):
    """How often annotations were read."""
    counted = []
    rows = datasets.LaSOT.rows
    monkeypatch.setattr(
        datasets.LaSOT, 'rows', lambda self: counted.append(self.split) or rows(self)
    )
    return counted


def rows():
    for place, count in enumerate((3, 1, 5)):
        boxes = small_sequences.some_boxes(count, place) + (0.1 if place == 2 else 0)
        visible = np.arange(count) % 2 == 0
        more = ('abc'[place % 2], {'away': ~visible}, ('Blur',) if place else ())
        yield SequenceRow(f'näme-{place}', f'f/{place}', 9, boxes, visible, *more)


@pytest.mark.parametrize('kept', [False, True])
def test_a_table_gives_back_what_was_packed(tmp_path, kept):
    arrays, meta = pack_rows(rows(), ['away'], ['Noise', 'Blur'])
    table = SequenceTable(arrays, meta)
    if kept:
        write_table(tmp_path / 'a.index', arrays, {**meta, 'fingerprint': 'x'})
        table = open_table(tmp_path / 'a.index')
    for place, due in enumerate(rows()):
        np.testing.assert_equal(asdict(table.row(place)), asdict(due))
    assert table.visible_counts().tolist() == [2, 1, 3]
    assert table.arrays['boxes'].dtype == np.float64  # 0.1 is no number of 32 bits
    assert pack_rows([next(rows())], ['away'])[0]['boxes'].dtype == np.float32


def test_a_damaged_file_is_told_apart(tmp_path):
    path = tmp_path / 'a.index'
    arrays, meta = pack_rows(rows(), ['away'])
    write_table(path, arrays, {**meta, 'fingerprint': 'x'})
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:20], b'', b'other' + whole, whole.replace(b'meta', b'mata')):
        path.write_bytes(damaged)
        with pytest.raises(BadTable, match='no index of sequences, or a damaged one'):
            open_table(path)
    assert os.listdir(tmp_path) == ['a.index']


def test_annotations_are_read_once(root, tmp_path, builds):
    first = datasets.LaSOT(root, cache_dir=tmp_path / 'cache')
    second = datasets.LaSOT(root, cache_dir=tmp_path / 'cache')
    assert builds == ['train']
    np.testing.assert_array_equal(first.boxes(0), second.boxes(0))
    assert not second.boxes(0).flags.writeable
    datasets.LaSOT(root, 'test', cache_dir=tmp_path / 'cache')
    datasets.LaSOT(root, lengths='shortest', cache_dir=tmp_path / 'cache')
    assert builds == ['train', 'test', 'train']


def edit(root):
    (root / 'bear/bear-3/groundtruth.txt').write_text('1,2,3,4\n' * 3 + '9,9,9,9\n')


def touch_flags(root):
    path = root / 'bear/bear-3/out_of_view.txt'
    path.write_text('1,0,0,0')
    os.utime(path, ns=(1, 1))  # as large as before


@pytest.mark.parametrize(
    'change',
    [
        edit,
        touch_flags,
        lambda root: small_sequences.write_lasot_sequence(
            root, 'bear-7', small_sequences.some_boxes(2)
        ),
        lambda root: (root / 'bear/bear-5').rename(root / 'other'),
        lambda root: (root / 'testing_set.txt').write_text('bear-3\n'),
        lambda root: small_sequences.write_attributes(root, 'bear-3', (0,)),
    ],
    ids=['edit', 'touch flags', 'add', 'remove', 'relist', 'attributes'],
)
def test_changes_are_noticed(root, tmp_path, builds, change):
    small_sequences.write_lasot_sequence(root, 'bear-5', small_sequences.some_boxes(4, 5))
    datasets.LaSOT(root, cache_dir=tmp_path / 'cache')
    change(root)
    kept, fresh = datasets.LaSOT(root, cache_dir=tmp_path / 'cache'), datasets.LaSOT(root)
    assert len(builds) == 3
    small_sequences.same(kept, fresh)
    assert [one.attributes for one in kept] == [one.attributes for one in fresh]
    assert len(list((tmp_path / 'cache').glob('*.index'))) == 1


def test_a_damaged_index_is_made_anew(root, tmp_path, builds):
    due = datasets.LaSOT(root, cache_dir=tmp_path / 'cache')[0].boxes
    (path,) = (tmp_path / 'cache').glob('*.index')
    path.write_bytes(path.read_bytes()[:-5])
    np.testing.assert_array_equal(datasets.LaSOT(root, cache_dir=tmp_path / 'cache')[0].boxes, due)
    datasets.LaSOT(root, cache_dir=tmp_path / 'cache')
    assert len(builds) == 2
    (root / 'bear/bear-3/img/00000004.jpg').unlink()
    with pytest.raises(DatasetError, match=r'3 frames, .* 4 boxes'):
        datasets.LaSOT(root, cache_dir=tmp_path / 'cache')


def test_small_sets_are_not_kept_unasked(root, tmp_path, monkeypatch):
    monkeypatch.setenv('LIGHTVIT_CACHE', str(tmp_path / 'cache'))
    datasets.LaSOT(root)
    assert not (tmp_path / 'cache').exists()
    monkeypatch.setattr('tracking.datasets.videos.CACHE_FROM', 1)
    datasets.LaSOT(root)
    assert len(list((tmp_path / 'cache').glob('lasot-train-*.index'))) == 1


def test_a_place_that_cannot_be_written_is_told_once(root, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(datasets.cache, 'print_log', lambda text, **_: told.append(text))
    (tmp_path / 'file').write_text('')  # no folder can be made below a file
    for _ in range(2):
        assert len(datasets.LaSOT(root, cache_dir=tmp_path / 'file' / 'cache')) == 3
    assert len(told) == 1
    assert 'LIGHTVIT_CACHE' in told[0]

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(datasets.cache, 'write_table', full)
    assert len(datasets.LaSOT(root, cache_dir=tmp_path / 'cache')) == 3
    assert 'No space left' in told[1]


def test_pickles_name_the_file_and_not_its_content(root, tmp_path):
    data = datasets.LaSOT(root, cache_dir=tmp_path / 'cache')
    packed = pickle.dumps(data)
    copy = pickle.loads(packed)
    assert copy.table.path == data.table.path
    np.testing.assert_array_equal(copy[2].boxes, data[2].boxes)
    np.testing.assert_array_equal(copy[2].frames.read(1), data[2].frames.read(1))
    edit(root)
    datasets.LaSOT(root, cache_dir=tmp_path / 'cache')
    with pytest.raises(DatasetError, match=r'made anew, as annotations changed'):
        pickle.loads(packed)
    # Pages that are mapped outlive the file they came from.
    np.testing.assert_array_equal(data[0].boxes, copy[0].boxes)
    alone = pickle.loads(pickle.dumps(datasets.LaSOT(root)))
    np.testing.assert_array_equal(alone[2].boxes, data[2].boxes)


def _open_slowly(root, folder, log):
    original = datasets.LaSOT.rows

    def slow(self):
        with open(log, 'a') as file:
            file.write('built\n')
        return original(self)

    datasets.LaSOT.rows = slow
    datasets.LaSOT(root, cache_dir=folder)


def test_processes_that_start_together_build_once(root, tmp_path):
    in_processes(_open_slowly, *[(root, tmp_path / 'cache', tmp_path / 'log')] * 4)
    assert (tmp_path / 'log').read_text() == 'built\n'


def test_the_sets_of_trackingnet_have_their_own_index(tmp_path):
    small_sequences.write_trackingnet(tmp_path / 'data')
    folder = tmp_path / 'cache'
    for sets, names in ((None, ['aa', 'bb', 'cc']), ([10], ['cc']), (None, ['aa', 'bb', 'cc'])):
        assert datasets.TrackingNet(tmp_path / 'data', sets=sets, cache_dir=folder).names == names
    assert len(list(folder.glob('*.index'))) == 2
