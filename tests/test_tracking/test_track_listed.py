"""OTB, UAV123, NFS and TNL2K: small folders in their layouts, and what they are judged by."""

import json

import numpy as np
import pytest

from lightvit_dense.datasets.errors import DatasetError
from tracking.datasets import NFS, OTB, TNL2K, UAV123, listed, tnl2k, videos
from tracking.datasets.published import published_spans
from tracking.evaluation.collect import open_source
from tracking.registry import DATASETS
from tracking.runtime.results import write_result
from tracking.tools import evaluate

from .small_sequences import picture, write_frames

NFS_LINES = [f'0 {n} 20 {n + 30} 60 {n} {int(n == 8)} 0 1 "a bee"\n' for n in range(20)]
UAV, TNL = 'data_seq/UAV123/', 'TNL2K_test_subset/Cat & Dog_01-Done/'

# Folders of frames with their number, first one and digits; files; and of each sequence its first
# box, where the target is visible, and the seed of its first picture.
LAYOUTS = {
    'OTB': (
        {'David/img': (3, 300, 4), 'Jogging/img': (3, 1, 4), 'Board/img': (2, 1, 5),
         'KiteSurf/img': (1, 1, 4), 'Tiger1/img': (7, 1, 4), 'Mine/img': (1, 1, 4)},
        {'David/groundtruth_rect.txt': '129,80,64,78\n128\t80\t64\t78\n127 80 64  78\n',
         'Jogging/groundtruth_rect.1.txt': '111,98,25,101\n1,2,3,4\nNaN,NaN,NaN,NaN\n',
         'Jogging/groundtruth_rect.2.txt': '180,86,37,114\n5,6,7,8\n0,0,0,0\n',
         'Board/groundtruth_rect.txt': '57,156,198,173\n58,156,198,173\r\n',
         'KiteSurf/groundtruth_rect.txt': '210,55,30,46\n',
         'Tiger1/groundtruth_rect.txt': ''.join(f'{n},1,2,3\n' for n in range(7)),
         'Mine/groundtruth_rect.txt': '1,2,3,4\n'},
        {'Board': ([57, 156, 198, 173], [1, 1], 0),
         'David': ([129, 80, 64, 78], [1, 1, 1], 0),
         'Jogging-1': ([111, 98, 25, 101], [1, 1, 0], 0),
         'Jogging-2': ([180, 86, 37, 114], [1, 1, 0], 0),
         'KiteSurf': ([210, 55, 30, 46], [1], 0),
         'Tiger1': ([5, 1, 2, 3], [1, 1], 5)},
    ),
    'UAV123': (
        {UAV + 'car1': (3, 1, 6), UAV + 'car1/': (2, 751, 6), UAV + 'bird1': (3, 775, 6)},
        {'anno/UAV123/car1_1.txt': '1,2,30,40\n' * 3,
         'anno/UAV123/car1_2.txt': '5,6,7,8\n5,6,7,9\n',
         'anno/UAV123/bird1_2.txt': '694,443,19,15\nNaN,NaN,NaN,NaN\n700,440,18,15\n'},
        {'bird1_2': ([694, 443, 19, 15], [1, 0, 1], 0),
         'car1_1': ([1, 2, 30, 40], [1, 1, 1], 0),
         'car1_2': ([5, 6, 7, 8], [1, 1], 0)},
    ),
    'NFS': (
        {'bee/30/bee': (3, 1, 5), 'sequences/yoyo': (2, 1, 5)},
        {'bee/30/bee.txt': ''.join(NFS_LINES), 'anno/nfs_yoyo.txt': '1\t2\t3\t4\n' * 3},
        {'bee': ([0, 20, 30, 40], [1, 0, 1], 0), 'yoyo': ([1, 2, 3, 4], [1, 1], 0)},
    ),
    'TNL2K': (
        {TNL + 'imgs': (10, 1, 1)},  # the tenth after the ninth; and a box too many
        {TNL + 'groundtruth.txt': '10,20,30,40\n' + '0,0,0,0\n' * 10},
        {'Cat & Dog_01-Done': ([10, 20, 30, 40], [1] + [0] * 9, 0)},
    ),
}  # fmt: skip


def write(root, kind, texts):
    for folder, numbers in LAYOUTS[kind][0].items():
        write_frames(root / folder, *numbers)
    for name, text in {**LAYOUTS[kind][1], **texts}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for path in root.glob('KiteSurf/img/*.jpg'):
        path.rename(path.with_suffix('.png'))


@pytest.mark.parametrize('kind', LAYOUTS)
def test_layouts_and_golden_boxes(tmp_path, monkeypatch, kind):
    told = []
    for module in (listed, tnl2k, videos):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: told.append(text))
    write(tmp_path, kind, {})
    wanted = LAYOUTS[kind][2]
    data = DATASETS.build(dict(type=f'tracking.{kind}', data_root=str(tmp_path)))
    assert data.names == sorted(wanted)
    for sequence in data:
        box, visible, seed = wanted[sequence.name]
        assert sequence.boxes[0].tolist() == box
        assert sequence.visible.tolist() == [bool(flag) for flag in visible]
        assert len(sequence) == len(visible)
        for frame in (0, len(visible) - 1):
            np.testing.assert_array_equal(sequence.frames.read(frame), picture(seed + frame))
    count = {'OTB': 100, 'UAV123': 123, 'NFS': 100, 'TNL2K': 700}[kind]
    assert f'{len(data)} of {count} ' in told[0]
    if kind == 'OTB':
        assert 'missing are Basketball, Biker, Bird1, ...' in told[0]
        assert told[1:] == ['OTB100: Mine are not of the set and are left out']
        assert data[1].frames.name(0).endswith('David/img/0300.jpg')
    if kind == 'NFS':
        assert data[0].gone['out_of_view'].tolist() == [False, True, False]


def test_published_lists():
    frames = {'otb100': (100, 59035), 'uav123': (123, 112578), 'nfs': (100, 47953)}
    for name, (count, total) in frames.items():
        spans = published_spans(name)
        assert len(spans) == count
        # UAV123's is the number that its paper names; OTB's 59 040 less five of Tiger1.
        assert sum(last + 1 - first - left for first, last, left in spans.values()) == total
    assert published_spans('otb100')['David'] == (300, 770, 0)
    assert published_spans('uav123')['uav1_3'] == (2473, 3469, 0)


@pytest.mark.parametrize(
    ('kind', 'file', 'text', 'words'),
    [
        (OTB, 'David/groundtruth_rect.txt', '1,2,3,4\n', 'David: .*img, from 0300.jpg on holds 3'),
        (OTB, 'Board/groundtruth_rect.txt', '1,2,3\n', 'Board/groundtruth_rect.txt, line 1: has 3'),
        (UAV123, 'anno/UAV123/uav6.txt', '1,2,3,4\n', 'uav6, from 000001.jpg on: holds no frame'),
        (NFS, 'bee/30/bee.txt', '0 1 2 3 4 5 0\n0 1 2\n', 'bee.txt, line 2: has 3 numbers'),
        (TNL2K, 'TNL2K_test_subset/x/imgs/1.txt', '', 'x/groundtruth.txt does not exist'),
    ],
)
def test_what_is_damaged_is_named(tmp_path, kind, file, text, words):
    write(tmp_path, kind.__name__, {file: text})
    with pytest.raises(DatasetError, match=words):
        kind(tmp_path)


@pytest.mark.parametrize(('kind', 'hit'), [('uav123', True), ('otb', False)])
def test_frames_without_a_box_are_judged_as_by_pytracking(tmp_path, kind, hit):
    """A third of the frames has none: no overlap; UAV123 alone counts it for the precision."""
    name = {'uav123': 'bird1_2', 'otb': 'Jogging-1'}[kind]
    write(tmp_path / 'data', kind.upper(), {})
    source, _ = open_source(f'{kind}:{tmp_path / "data"}')
    for place, one in enumerate(source.names):
        boxes = source.sequence(place).boxes.copy()
        boxes[boxes[:, 2] == 0] = 1
        write_result(tmp_path / 'mine', one, boxes)
    report = ['--json', str(tmp_path / 'found.json')]
    assert evaluate.main([f'{kind}:{tmp_path / "data"}', str(tmp_path / 'mine'), *report]) == 0
    rows = json.loads((tmp_path / 'found.json').read_text())['trackers']['mine']['sequences']
    row = next(row for row in rows if row['sequence'] == name)
    assert row['OP50'] == pytest.approx(200 / 3)
    assert row['precision'] == pytest.approx(100 if hit else 200 / 3)
    assert row['norm_precision'] == pytest.approx(100)
