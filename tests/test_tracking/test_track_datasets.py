import pickle

import numpy as np
import pytest

from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from tracking.datasets import CustomSequences, LaSOT, VideoFrames, videos
from tracking.datasets.published import lasot_test
from tracking.datasets.text import parse_boxes, parse_flags
from tracking.registry import DATASETS

from .small_sequences import (
    picture,
    some_boxes,
    write_lasot_sequence,
    write_picture,
    write_rows,
    write_video,
)


@pytest.mark.parametrize(
    'text',
    [
        b'1,2,3,4\n5,6,7,8\n',
        b'1 2 3 4\n5 6 7 8',
        b'1\t2\t3\t4\r\n5\t6\t7\t8\r\n',
        b'1;2;3;4\n5;6;7;8\n\n \n',
        b'1, 2,\t3 ; 4\n5,6,7,8,\n',
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
        (b'1,2,3,4\n1,2,x,4\n', ["gt.txt, line 2: 'x' is no number"]),
        (b'1,2,3,4\n1,2,3\n1,2,3,4,5\n', ['gt.txt, line 2: has 3 numbers instead of 4']),
        (b'1,2,3,4\n\n1,2,3,4\n', ['gt.txt, line 2: has 0 numbers']),
        (b'1,2,3,4\n1,,3,4\n', ['gt.txt, line 2: has 3 numbers']),
        (b'\n\n', ['gt.txt: holds no box']),
        (b'', ['gt.txt: holds no box']),
        (b'1,2,-3,4\n', ['line 1', 'size -3 x 4']),
        (b'1,2,3,4\n1,2,inf,4\n', ['gt.txt, line 2', 'infinite']),
        ('1,2,3,4\n'.encode('utf-16'), ['is no number']),
    ],
)
def test_malformed_boxes_name_file_and_line(text, words):
    with pytest.raises(DatasetError) as error:
        parse_boxes(text, 'gt.txt')
    assert all(word in str(error.value) for word in words)


def test_flags_in_a_row_or_a_column():
    assert parse_flags(b'0,1,0\n', 'f').tolist() == parse_flags(b'0\n1\n0', 'f').tolist()
    with pytest.raises(DatasetError, match=r'whole numbers'):
        parse_flags(b'0,0.5', 'f')


def test_published_test_list_of_lasot():
    names = lasot_test()
    assert len(set(names)) == 280
    assert len({name.rpartition('-')[0] for name in names}) == 70
    assert names[:4] == ('airplane-1', 'airplane-9', 'airplane-13', 'airplane-15')
    assert {'monkey-17', 'zebra-10', 'person-5', 'electricfan-20'} <= set(names)


def lasot(root):
    boxes = some_boxes(6, 1)
    boxes[2], boxes[3, 2], boxes[4, 1] = np.nan, 0, np.nan
    boxes[5, 3] = -2  # of a target that has left, in some sets
    write_lasot_sequence(root, 'airplane-1', boxes, occluded=[1], away=[5])
    for number in (2, 10, 9):
        write_lasot_sequence(root, f'airplane-{number}', some_boxes(3, number))
    return boxes


def test_lasot_reads_boxes_flags_and_frames(tmp_path):
    boxes = lasot(tmp_path)
    (tmp_path / 'att').mkdir()
    (tmp_path / 'att' / 'airplane-1.txt').write_text('1,0,0,0,0,0,0,0,0,0,0,0,0,1')
    data = DATASETS.build(dict(type='tracking.LaSOT', data_root=str(tmp_path), split='test'))
    assert (data.name, data.names) == ('LaSOT', ['airplane-1', 'airplane-9'])
    assert (data.lengths.tolist(), data.visible_counts.tolist()) == ([6, 3], [1, 3])
    assert data.is_video
    sequence = data[0]
    np.testing.assert_array_equal(sequence.boxes, boxes)
    assert sequence.boxes.dtype == np.float64
    assert sequence.visible.tolist() == [True, False, False, False, False, False]
    reasons = {name: np.flatnonzero(flags).tolist() for name, flags in sequence.gone.items()}
    assert reasons == {'full_occlusion': [1], 'out_of_view': [5]}
    assert sequence.class_name == 'airplane'
    assert sequence.attributes == ('Illumination Variation', 'Aspect Ratio Change')
    np.testing.assert_array_equal(data.boxes(-2), boxes)
    assert data.visible(1).tolist() == [True] * 3
    assert sequence.frames.name(2) == str(tmp_path / 'airplane/airplane-1/img/00000003.jpg')
    np.testing.assert_array_equal(sequence.frames.read(2), picture(2))
    with pytest.raises(IndexError):
        sequence.frames.read(6)
    with pytest.raises(IndexError):
        data[2]


def test_lasot_trains_on_what_is_not_listed_for_testing(tmp_path):
    lasot(tmp_path)
    assert LaSOT(tmp_path).names == ['airplane-2', 'airplane-10']
    (tmp_path / 'testing_set.txt').write_text('airplane-2\r\nairplane-10\n')
    assert LaSOT(tmp_path).names == ['airplane-1', 'airplane-9']
    assert LaSOT(tmp_path, 'test').names == ['airplane-2', 'airplane-10']
    (tmp_path / 'training_set.txt').write_text('airplane-9\n')
    assert LaSOT(tmp_path).names == ['airplane-9']


def test_lasot_names_what_is_wrong(tmp_path):
    def fails(words, *args):
        with pytest.raises(UserError, match=words):
            LaSOT(*(args or (tmp_path,)))

    fails(r'does not exist. Set data_root', tmp_path / 'nowhere')
    fails(r"holds no sequence of 'train'.*airplane/airplane-1/")
    fails(r"Did you mean 'train'", tmp_path, 'trian')
    folder = write_lasot_sequence(tmp_path, 'cat-2', some_boxes(4))
    (folder / 'img' / '00000004.jpg').unlink()
    fails(r"cat-2: .* 3 frames, .* 4 boxes.*lengths='shortest'")
    assert LaSOT(tmp_path, lengths='shortest').lengths.tolist() == [3]
    for number in (4, 5):
        write_picture(folder / 'img' / f'{number:08d}.jpg', 0)
    fails(r'5 frames, .* 4 boxes')
    (folder / 'out_of_view.txt').write_text('0,0,0')
    fails(r'out_of_view.txt: has 3 flags for 4 boxes')
    (folder / 'out_of_view.txt').unlink()
    fails(r'out_of_view.txt does not exist')
    other = write_lasot_sequence(tmp_path, 'cat-5', some_boxes(2))
    (other / 'groundtruth.txt').write_text('1,2,3,4\n1,2,a,4')
    fails(r"2 of 2 sequences(.|\n)*cat-5.*line 2: 'a' is no")


def test_missing_and_damaged_frames_are_named(tmp_path):
    folder = write_lasot_sequence(tmp_path, 'cat-2', some_boxes(4))
    data = LaSOT(tmp_path)
    (folder / 'img' / '00000002.jpg').unlink()
    (folder / 'img' / '00000003.jpg').write_bytes(b'\xff\xd8 nothing')
    with pytest.raises(DatasetError, match=r'00000002.jpg does not exist'):
        data.frames(0).read(1)
    with pytest.raises(DatasetError, match=r'00000003.jpg cannot be read: truncated'):
        data.frames(0).read(2)


def test_custom_sequences_of_pictures_and_videos(tmp_path):
    boxes = some_boxes(11)
    for frame in range(11):
        write_picture(tmp_path / 'b' / f'shot{frame}.png', frame)
    write_rows(tmp_path / 'b' / 'groundtruth.txt', boxes, ' ')
    for frame in range(3):
        write_picture(tmp_path / 'a2' / 'img' / f'{frame}.png', frame + 50)
    write_rows(tmp_path / 'a2' / 'groundtruth_rect.txt', boxes[:1], '\t')
    shades = [np.full((48, 64, 3), (255 - 30 * f, 0, 30 * f), np.uint8) for f in range(8)]
    write_video(tmp_path / 'a10.avi', shades)
    write_rows(tmp_path / 'a10.txt', boxes[:8])
    data = CustomSequences(tmp_path)
    assert data.names == ['a2', 'a10', 'b']
    assert data.lengths.tolist() == [3, 8, 11]
    assert [len(s.boxes) for s in data] == [1, 8, 11]
    for place, frame, seed in ((2, 10, 10), (2, 2, 2), (0, 0, 50)):
        np.testing.assert_array_equal(data[place].frames.read(frame), picture(seed))
    frames = pickle.loads(pickle.dumps(data[1])).frames
    for index in (0, 1, 5, 2, 7, 0):  # ahead, far ahead, back
        means = frames.read(index).mean(axis=(0, 1))
        np.testing.assert_allclose(means, shades[index][0, 0], atol=12)
    write_rows(tmp_path / 'a10.txt', boxes[:7])
    with pytest.raises(DatasetError, match=r'a10.avi.* 8 frames, .*a10.txt 7 boxes'):
        CustomSequences(tmp_path)


def test_custom_sequences_need_boxes(tmp_path):
    write_picture(tmp_path / 'a' / '0.png', 0)
    with pytest.raises(DatasetError, match=r'groundtruth.txt does not exist'):
        CustomSequences(tmp_path)
    (tmp_path / 'a' / 'groundtruth.txt').write_text('1,2,3,4')
    (tmp_path / 'b.mp4').write_bytes(b'no video')
    (tmp_path / 'b.txt').write_text('1,2,3,4')
    with pytest.raises(DatasetError, match=r'b.mp4: is no video that OpenCV can decode'):
        CustomSequences(tmp_path)


def test_a_subset_is_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(videos, 'print_log', lambda text, **_: told.append(text))
    lasot(tmp_path)
    LaSOT(tmp_path)
    assert told == []
    LaSOT(tmp_path, 'test')
    assert len(told) == 1
    assert '2 of 280 listed sequences are there; missing are airplane-13, airplane-15' in told[0]


def test_a_video_shorter_than_it_says(tmp_path):
    path = write_video(tmp_path / 'a.avi', [picture(frame, 48, 64) for frame in range(20)])
    assert len(VideoFrames(path)) == 20
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def read_all():
        frames = VideoFrames(path)
        return [frames.read(index) for index in range(20)]

    with pytest.raises(DatasetError, match=r'a.avi'):
        read_all()
    with pytest.raises(DatasetError, match=r'this video does not exist'):
        VideoFrames(tmp_path / 'b.avi')
